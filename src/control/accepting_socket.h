// A listening socket of the control loop. Accepts until close(), with a pause after a failure that
// is not the loop's own to mend.
//
// Owned by a server, on its loop's thread; borrows loop and sink, takes the socket. Ends with
// close(), then is_open() is false on the loop.
#pragma once

#include "dataplane/io/loop.h"

namespace istmo::control {

class AcceptSink {
 public:
  // A client, which is the sink's; one may still come after close().
  virtual void on_accepted(io::Fd client) = 0;

 protected:
  ~AcceptSink() = default;
};

class AcceptingSocket {
 public:
  // `server`: its name in the log.
  AcceptingSocket(io::Loop& loop, AcceptSink& sink, io::Fd socket, const char* server);
  ~AcceptingSocket();

  void close();
  bool is_open() const { return socket_.is_open(); }

 private:
  void accept() { loop_.accept(accept_op_, socket_, io::SocketOptions{}); }
  void on_done(io::Completion&& done);
  void close_socket();

  io::Loop& loop_;
  AcceptSink& sink_;
  const char* const server_;
  io::Fd socket_;
  bool is_closing_ = false;
  io::OpOf<AcceptingSocket, &AcceptingSocket::on_done> accept_op_{*this};
  io::TimerOf<AcceptingSocket, &AcceptingSocket::accept> retry_{*this};
};

}  // namespace istmo::control
