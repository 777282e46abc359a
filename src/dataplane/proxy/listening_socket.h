// The sockets that one worker listens on for one Listener or one RouterAccess: a set of addresses
// that can change while connections come in.
//
// Owned by a Listener or a LinkAcceptor. A socket that is closed leaves the set when its accept op
// has ended; the owner waits for is_idle() before it ends.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/io/loop.h"
#include "dataplane/proxy/report.h"

namespace istmo::proxy {

class ListeningSocketSink {
 public:
  // The sink owns the socket from now on.
  virtual void on_accepted(io::Fd fd) = 0;
  // One socket is gone: the sink may be free to end.
  virtual void on_socket_closed() = 0;

 protected:
  ~ListeningSocketSink() = default;
};

class ListeningSockets {
 public:
  ListeningSockets(io::Loop& loop, ListeningSocketSink& sink) : loop_(loop), sink_(sink) {}
  ~ListeningSockets() { ASSERT(is_idle()); }

  // Closes what is not in `addresses`, opens what is new; what stays accepts with `options` from
  // now on. Errors name the address.
  void update(const std::vector<io::Address>& addresses, const io::SocketOptions& options,
              std::vector<Error>& errors);
  void close_all();
  bool is_idle() const { return sockets_.empty(); }
  bool is_bound() const;

 private:
  struct Socket {
    Socket(ListeningSockets& set, const io::Address& bound, io::Fd listener,
           const io::SocketOptions& for_accepted)
        : owner(set), address(bound), fd(listener), options(for_accepted) {}
    void on_accepted(io::Completion&& done) { owner.on_accepted(*this, std::move(done)); }
    ListeningSockets& owner;
    io::Address address;
    io::Fd fd;
    io::SocketOptions options;
    bool is_closing = false;
    io::OpOf<Socket, &Socket::on_accepted> accept_op{*this};
  };

  void set_options(Socket& socket, const io::SocketOptions& options);
  void on_accepted(Socket& socket, io::Completion&& done);

  io::Loop& loop_;
  ListeningSocketSink& sink_;
  std::vector<std::unique_ptr<Socket>> sockets_;
};

}  // namespace istmo::proxy
