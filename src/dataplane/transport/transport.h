// Octets on a connected socket, encrypted or not: one of the four interfaces of the data plane.
//
// A Transport is owned by a stream or a link (its sink), on one worker. It starts receiving at
// start(), and ends in one way: close(), or a failure of its own, and later exactly one
// on_transport_closed(), after which nothing in the kernel refers to it and the owner may destroy
// it (also from inside that call).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "dataplane/io/buffer.h"
#include "dataplane/io/loop.h"

namespace istmo::transport {

// What the owner of a transport is told. All calls come from the loop, none from inside a call
// to the transport. on_transport_closed is the last one.
class TransportSink {
 public:
  // TLS: the handshake is done (plain TCP: start() was called). Sending was possible before.
  virtual void on_transport_open() = 0;
  virtual void on_transport_data(io::Chain&& bytes) = 0;
  // The other side ended its direction in order (FIN; with TLS close_notify: a FIN without it
  // closes the transport as a reset).
  virtual void on_transport_end() = 0;
  // `count` octets that were given to send() have left: the kernel took them. TLS: 0 tells that
  // after shutdown_send() everything, close_notify too, has left.
  virtual void on_transport_drained(uint64_t count) = 0;
  // `error`: class closed after an orderly end, reset when the other side reset, timeout, protocol
  // (TLS alerts, with their text) ...
  virtual void on_transport_closed(const Error& error) = 0;

 protected:
  ~TransportSink() = default;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Once. Nothing is received before.
  virtual void start() = 0;
  // Appends to the output queue; it leaves at the end of the turn, in order. Ignored when closed.
  virtual void send(io::Chain&& bytes) = 0;
  // Octets in send() that have not left yet.
  virtual uint64_t pending_bytes() const = 0;
  // Back-pressure towards the sender: what has arrived already may still be delivered, at most
  // one completion's worth. Both are idempotent.
  virtual void pause_receive() = 0;
  virtual void resume_receive() = 0;
  // FIN behind everything that was sent (TLS: close_notify before it).
  virtual void shutdown_send() = 0;
  // Ends everything. orderly: what is pending is dropped, no RST unless the kernel must; abort:
  // RST. Then on_transport_closed, never from inside this call.
  virtual void close(io::Loop::Ending ending, Error reason) = 0;
  virtual bool is_closed() const = 0;  // close() was called or it failed
};

}  // namespace istmo::transport
