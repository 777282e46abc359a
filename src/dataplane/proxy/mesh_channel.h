// Messages of the control threads of two neighbour sites, over a stream of one connection of
// their link (mesh_placement.h tells which, codec::MeshReader how).
//
// Back-pressure: the control thread has one message of a channel at a time. What comes behind it is
// not read before on_message_read() and a pause, so that the neighbour's credit runs out.
//
// Owned by its Link; it ends with the link's stream. The messages' meaning is control/mesh's.
#pragma once

#include <string>
#include <string_view>

#include "dataplane/codec/mesh_reader.h"
#include "dataplane/io/timer_wheel.h"
#include "dataplane/proxy/stream.h"

namespace istmo::proxy {

class Link;
class LinkStream;
class Worker;

// The routing key that no service can have: keys with a leading $ are refused by compile().
inline constexpr std::string_view kMeshKey = "$istmo/mesh";

class MeshChannel final : private StreamSink {
 public:
  MeshChannel(Worker& worker, Link& link) : worker_(worker), link_(link) {}
  StreamSink& sink() { return *this; }
  void start(LinkStream& stream);
  bool is_open() const { return is_announced_; }
  void open() { announce(); }  // acceptor: the stream came
  // The whole of what there is to say: replaces a message that has not begun to leave.
  void send(std::string_view message);
  // The control thread has dealt with the message that it got last. A refusal, if it is not empty,
  // ends the link.
  void on_message_read(std::string_view refusal);
  void end();  // the link ends

 private:
  // After each message, and once more for each kBytesPerPause of it: a neighbour that keeps talking
  // must not keep the control thread busy.
  static constexpr Duration kPause = Duration::milliseconds(50);
  static constexpr uint32_t kBytesPerPause = 64 * 1024;

  void on_stream_open(Stream& stream) override;
  void on_stream_data(Stream& stream, io::Chain&& bytes) override;
  void on_stream_end(Stream& stream) override;
  void on_stream_drained(Stream&, uint64_t) override { send_newest(); }
  void on_stream_closed(Stream& stream, CloseReason reason) override;
  void announce();
  void send_newest();
  void read_on() { hand_over(reader_.resume()); }
  void hand_over(const Result<>& result);
  void refuse(const Error& error);

  Worker& worker_;
  Link& link_;
  LinkStream* stream_ = nullptr;
  bool is_announced_ = false;
  std::string unsent_;
  codec::MeshReader reader_;
  Duration pause_;  // after the message that the control thread has
  io::TimerOf<MeshChannel, &MeshChannel::read_on> pause_timer_{*this};
};

}  // namespace istmo::proxy
