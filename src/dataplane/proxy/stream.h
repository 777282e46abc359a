// One exchange as one side of a tunnel sees it: octets, end, reset, credit. One of the four
// interfaces of the data plane; a TcpStream and a LinkStream look the same through it.
//
// A stream belongs to one worker. It ends once, with on_stream_closed(): after both directions
// ended in order, after a failure, or after reset(). It does not exist after that call.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/io/buffer.h"
#include "dataplane/proxy/report.h"

namespace istmo::proxy {

class Stream;

// All calls come from the loop, none from inside a call to the stream.
class StreamSink {
 public:
  // A stream that we opened reached its server: what was sent before has not been lost.
  virtual void on_stream_open(Stream& stream) = 0;
  // At most the credit that was granted, plus one completion's worth for TCP.
  virtual void on_stream_data(Stream& stream, io::Chain&& bytes) = 0;
  virtual void on_stream_end(Stream& stream) = 0;
  // `count` octets that were given to send() have left this process.
  virtual void on_stream_drained(Stream& stream, uint64_t count) = 0;
  // The last call. `reason` is finished, or the stream's own view of what broke it.
  virtual void on_stream_closed(Stream& stream, CloseReason reason) = 0;

 protected:
  ~StreamSink() = default;
};

class Stream {
 public:
  // Hands the octets over; they leave in order, at the end of the turn.
  virtual void send(io::Chain&& bytes) = 0;
  // End of the direction away from us, behind everything sent.
  virtual void finish() = 0;
  // Ends both directions at once; the far side sees a reset. Idempotent.
  virtual void reset(CloseReason reason) = 0;
  // What the stream delivered was drained elsewhere: it may deliver `count` octets more.
  virtual void grant(uint64_t count) = 0;
  // How many it may deliver before the next grant; below zero after an overshoot.
  virtual int64_t credit_bytes() const = 0;
  // Tells whoever opened this stream that its server was reached. No effect on TCP.
  virtual void accept() = 0;
  // For people: "10.0.0.7:5432" or "site east".
  virtual std::string remote_name() const = 0;

 protected:
  ~Stream() = default;
};

}  // namespace istmo::proxy
