// Where other sites dial: the listening sockets of one RouterAccess document on one worker.
//
// Reads the ClientHello of each connection before TLS starts: ALPN `istmo-<i>` asks for worker
// i mod N, and the socket goes there with what was read. The number is a placement hint and grants
// nothing; without it the connection stays here.
//
// Owned by the LinkSet; ends when its document goes (retire) and the last arrival is placed.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/slab.h"
#include "dataplane/codec/client_hello.h"
#include "dataplane/io/loop.h"
#include "dataplane/proxy/listening_socket.h"
#include "dataplane/proxy/newcomers.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::proxy {

class Worker;

class LinkAcceptor final : private ListeningSocketSink {
 public:
  LinkAcceptor(Worker& worker, const LinkAcceptorConfig& config);
  ~LinkAcceptor();

  const std::string& name() const { return config_.name; }
  void update(const LinkAcceptorConfig& config);
  void open(std::vector<Problem>& problems);
  void retire();
  bool can_be_freed() const { return is_retired_ && arrivals_.empty() && sockets_.is_idle(); }
  // A connection for this worker, with the octets that were read: becomes a Link.
  void start_link(io::Fd fd, io::Chain&& received);

 private:
  static constexpr Duration kArrivalTimeout = Duration::seconds(5);

  // A connection whose ClientHello is being read.
  struct Arrival : Newcomer {
    Arrival(LinkAcceptor& acceptor_, io::Fd socket) : acceptor(acceptor_), fd(socket) {}
    void on_received(io::Completion&& done) { acceptor.on_received(*this, std::move(done)); }
    void on_timer() { acceptor.on_arrival_timer(*this); }
    LinkAcceptor& acceptor;
    io::Fd fd;
    io::Chain received;
    bool is_complete = false;  // place it
    bool is_ending = false;    // drop it
    uint32_t worker = 0;
    io::OpOf<Arrival, &Arrival::on_received> receive_op{*this};
    io::TimerOf<Arrival, &Arrival::on_timer> timer{*this};
  };

  void on_accepted(io::Fd fd) override;
  void on_socket_closed() override;
  void on_received(Arrival& arrival, io::Completion&& done);
  void on_arrival_timer(Arrival& arrival) { drop(arrival); }
  void make_room_for(const std::string& source);
  void drop(Arrival& arrival);
  void read_hello(Arrival& arrival);
  void place(Arrival& arrival);

  Worker& worker_;
  LinkAcceptorConfig config_;
  std::optional<transport::TlsContext> context_;
  bool is_retired_ = false;
  ListeningSockets sockets_;
  Slab<Arrival> arrivals_;
  Newcomers waiting_;  // arrivals without a complete hello
};

}  // namespace istmo::proxy
