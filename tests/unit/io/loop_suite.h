// What every Loop must do, as cases that run over any of them: loop_test.cc runs them over
// EpollLoop and UringLoop, sim_loop_test.cc over SimLoop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "dataplane/io/loop.h"

namespace istmo::io::suite {

// Makes a loop for the calling thread. All loops of one factory share a network.
using LoopFactory = std::function<std::unique_ptr<Loop>(const LoopOptions&)>;

struct Case {
  std::string_view name;
  void (*run)(const LoopFactory& make);
};
inline std::ostream& operator<<(std::ostream& out, const Case& named) { return out << named.name; }

std::vector<Case> network_cases();  // need nothing but a Loop (loop_cases.cc)
std::vector<Case> reset_cases();    // part of them (loop_reset_cases.cc)
std::vector<Case> kernel_cases();   // threads, processes, descriptors: not for SimLoop

// What comes after a pause is at most what one receive may take: 256 KiB. For kernel loops; not
// where io_uring cannot limit a receive.
void check_overshoot(const LoopFactory& make);

// The kernel gets few blocks at a time, and more once many connections need them at once.
void check_crowd(const LoopFactory& make);

// Many connections at once, every octet checked: random chunks, pauses, cancels, a small pool.
struct SoakOptions {
  uint64_t seed = 1;
  uint32_t connections = 64;
  uint64_t bytes_per_connection = 2 * 1024 * 1024;
};
void soak(const LoopFactory& make, const SoakOptions& options);

// Turns of `loop` until `is_done`, at most 20 s of its time.
bool run_until(Loop& loop, const std::function<bool()>& is_done);

// Octet `position` of the stream `seed`, many of them, and whether a chain holds them.
uint8_t pattern_at(uint64_t seed, uint64_t position);
Slice pattern(uint64_t seed, uint64_t position, uint32_t bytes);
bool matches_pattern(const Chain& chain, uint64_t seed, uint64_t position);

// One end of a connection under test: sends what is queued, checks or keeps what comes.
class End {
 public:
  explicit End(Loop& loop) : loop_(loop) {}
  ~End();
  End(const End&) = delete;

  void own(Fd fd) { fd_ = fd; }
  Fd fd() const { return fd_; }
  void connect(const Address& address);
  bool is_connected() const { return connect_result == 0; }

  void start_receiving();
  void pause();               // cancels the receive; may be called at any time
  void queue(Slice&& bytes);  // and sends
  void queue(std::string_view text) { queue(Slice::copy_of(text)); }
  void finish_sending();  // FIN behind everything queued
  void cancel_send() { loop_.cancel(send_op_); }
  void cancel_connect() { loop_.cancel(connect_op_); }
  void cancel_receive() { loop_.cancel(receive_op_); }
  // Cancels what is busy, waits, closes.
  void close(Loop::Ending ending = Loop::Ending::orderly);

  bool is_receiving() const { return !receive_op_.is_idle(); }
  bool is_sending() const { return !send_op_.is_idle(); }
  bool has_sent_all() const { return to_send.empty() && !is_sending(); }
  bool is_connecting() const { return !connect_op_.is_idle(); }

  int connect_result = 1;     // 1: not told yet
  int receive_result = 1;     // of the last receive completion that was last
  uint32_t receive_ends = 0;  // how many were last
  int send_error = 0;
  std::vector<int> send_results;
  Chain to_send;
  Chain received;  // unless a checker is set
  uint64_t received_bytes = 0;
  std::function<void(const Chain&)> checker;
  std::function<void()> after_receive;

 private:
  void on_connected(Completion&& done);
  void on_received(Completion&& done);
  void on_sent(Completion&& done);
  void send_next();

  Loop& loop_;
  Fd fd_;
  bool is_finishing_ = false;
  bool is_closing_ = false;
  bool is_in_verb_ = false;
  OpOf<End, &End::on_connected> connect_op_{*this};
  OpOf<End, &End::on_received> receive_op_{*this};
  OpOf<End, &End::on_sent> send_op_{*this};
};

// Watches an end for a reset.
class Watcher {
 public:
  explicit Watcher(Loop& loop) : loop_(loop) {}
  ~Watcher() { stop(); }
  Watcher(const Watcher&) = delete;
  void start(const End& end) { loop_.watch(op_, end.fd()); }
  void stop() { loop_.unwatch(op_); }
  bool is_watching() const { return !op_.is_idle(); }
  int result = 0;  // of the completion; 0: none came

 private:
  void on_broken(Completion&& done) { result = done.result; }
  Loop& loop_;
  OpOf<Watcher, &Watcher::on_broken> op_{*this};
};

// A listening socket that keeps what it accepts.
class Door {
 public:
  explicit Door(Loop& loop, const ListenOptions& options = {});
  ~Door() { close(); }
  Door(const Door&) = delete;
  Address address() const { return address_; }
  void start();
  void stop();
  Fd take();  // waits for the next connection
  size_t waiting() const { return accepted_.size(); }
  void close();
  uint32_t ends = 0;
  int last_error = 0;

 private:
  void on_accepted(Completion&& done);
  Loop& loop_;
  Fd listener_;
  Address address_;
  std::vector<Fd> accepted_;
  OpOf<Door, &Door::on_accepted> accept_op_{*this};
};

// A connection over the loop's network, both ends on one loop.
struct Pair {
  explicit Pair(Loop& loop);
  End client;
  End server;
};

}  // namespace istmo::io::suite
