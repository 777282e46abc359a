// Where clients connect: the listening sockets of one Listener document on one worker, and the
// exchanges that came in there.
//
// Owned by the Worker. When its document goes, or nobody serves its key any more, it is retired:
// the sockets close at once, the exchanges live on (unless the document is gone and said
// dropTcpConnections), and with the last of them it is freed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/list.h"
#include "dataplane/io/loop.h"
#include "dataplane/proxy/listening_socket.h"
#include "dataplane/proxy/process_state.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/proxy/tunnel.h"

namespace istmo::proxy {

class Listener final : private ListeningSocketSink {
 public:
  Listener(Worker& worker, const ListenerConfig& config);
  ~Listener();

  const std::string& name() const { return config_.name; }
  const ListenerConfig& config() const { return config_; }
  bool is_retired() const { return is_retired_; }
  bool can_be_freed() const { return is_retired_ && tunnels_open_ == 0 && sockets_.is_idle(); }

  // Takes a changed document: addresses that stay keep their sockets.
  void update(const ListenerConfig& config);
  // Binds what is not bound yet. Problems are appended.
  void open(std::vector<Problem>& problems);
  void close_sockets() { sockets_.close_all(); }
  void retire();
  // The Listener document was deleted: with dropTcpConnections its exchanges end now.
  void on_document_gone();
  void end_all(CloseReason reason);

  void add(Tunnel& tunnel);
  void leave(uint64_t bytes_in, uint64_t bytes_out);
  ListenerReport report() const;

 private:
  void on_accepted(io::Fd fd) override;
  void on_socket_closed() override;

  Worker& worker_;
  ListenerConfig config_;
  bool is_retired_ = false;
  uint32_t tunnels_open_ = 0;
  ListeningSockets sockets_;
  List<Tunnel, TunnelsOfListener> tunnels_;
};

}  // namespace istmo::proxy
