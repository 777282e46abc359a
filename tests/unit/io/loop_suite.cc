#include "loop_suite.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace istmo::io::suite {

bool run_until(Loop& loop, const std::function<bool()>& is_done) {
  const Instant deadline = loop.now() + Duration::seconds(20);
  while (!is_done()) {
    if (loop.now() > deadline) return false;
    loop.run_turn(Duration::milliseconds(100));
  }
  return true;
}

namespace {

static_assert(std::endian::native == std::endian::little);

// Eight octets of the stream at a time: the tests' own time is spent here.
uint64_t pattern_word(uint64_t seed, uint64_t index) {
  uint64_t mixed = (seed + 1) * 0x9e3779b97f4a7c15 + index * 0xff51afd7ed558ccd;
  return mixed ^ mixed >> 29;
}

}  // namespace

uint8_t pattern_at(uint64_t seed, uint64_t position) {
  return static_cast<uint8_t>(pattern_word(seed, position / 8) >> (position % 8 * 8));
}

Slice pattern(uint64_t seed, uint64_t position, uint32_t bytes) {
  Slice slice = Slice::allocate(bytes);
  uint8_t* to = slice.mutable_data();
  uint32_t done = 0;
  while (done < bytes && (position + done) % 8 != 0) {
    to[done] = pattern_at(seed, position + done);
    ++done;
  }
  for (; done + 8 <= bytes; done += 8) {
    const uint64_t word = pattern_word(seed, (position + done) / 8);
    std::memcpy(to + done, &word, sizeof word);  // little-endian, as pattern_at()
  }
  for (; done < bytes; ++done) to[done] = pattern_at(seed, position + done);
  return slice;
}

bool matches_pattern(const Chain& chain, uint64_t seed, uint64_t position) {
  for (uint32_t i = 0; i < chain.slice_count(); ++i) {
    const Slice& slice = chain.slice(i);
    const Slice expected = pattern(seed, position, slice.size());
    if (std::memcmp(expected.data(), slice.data(), slice.size()) != 0) return false;
    position += slice.size();
  }
  return true;
}

End::~End() {
  if (fd_.is_open() || is_connecting()) close(Loop::Ending::abort);
}

void End::connect(const Address& address) {
  connect_result = 1;
  is_in_verb_ = true;
  loop_.connect(connect_op_, address, {});
  is_in_verb_ = false;
}

void End::start_receiving() {
  is_in_verb_ = true;
  loop_.receive(receive_op_, fd_);
  is_in_verb_ = false;
}

void End::pause() { loop_.cancel(receive_op_); }

void End::queue(Slice&& bytes) {
  to_send.append(std::move(bytes));
  if (!is_sending()) send_next();
}

void End::finish_sending() {
  is_finishing_ = true;
  if (has_sent_all()) loop_.shutdown_send(fd_);
}

void End::close(Loop::Ending ending) {
  for (Op* op : {static_cast<Op*>(&connect_op_), static_cast<Op*>(&receive_op_),
                 static_cast<Op*>(&send_op_)}) {
    loop_.cancel(*op);
  }
  is_finishing_ = false;
  is_closing_ = true;  // the chain stays as it is until the send has ended
  run_until(loop_, [this] { return !is_connecting() && !is_receiving() && !is_sending(); });
  to_send.clear();
  if (fd_.is_open()) loop_.close(fd_, ending);
  fd_ = Fd();
}

void End::on_connected(Completion&& done) {
  BOOST_TEST_REQUIRE(!is_in_verb_);
  BOOST_TEST(done.is_last);
  BOOST_TEST(done.fd.is_open() == !done.failed());
  connect_result = done.result;
  fd_ = done.fd;
}

void End::on_received(Completion&& done) {
  BOOST_TEST_REQUIRE(!is_in_verb_);
  BOOST_TEST_REQUIRE(done.is_last == (done.result <= 0));
  BOOST_TEST_REQUIRE(done.bytes.size() == static_cast<uint64_t>(std::max(done.result, 0)));
  if (done.is_last) {
    receive_result = done.result;
    ++receive_ends;
  } else {
    received_bytes += done.bytes.size();
    if (checker) checker(done.bytes);
    else received.append(std::move(done.bytes));
  }
  if (after_receive) after_receive();
}

void End::on_sent(Completion&& done) {
  BOOST_TEST_REQUIRE(!is_in_verb_);
  BOOST_TEST_REQUIRE(done.is_last);
  send_results.push_back(done.result);
  if (is_closing_) return;
  if (done.failed()) {
    send_error = done.result;
    to_send.clear();
    return;
  }
  const auto sent = static_cast<uint64_t>(done.result);
  to_send.drop_front(std::min(sent, to_send.size()));
  if (!to_send.empty()) return send_next();
  if (is_finishing_) loop_.shutdown_send(fd_);
}

void End::send_next() {
  is_in_verb_ = true;
  loop_.send(send_op_, fd_, to_send);
  is_in_verb_ = false;
}

Door::Door(Loop& loop, const ListenOptions& options) : loop_(loop) {
  const Address any_port = Address::parse("127.0.0.1", 0).value();
  listener_ = loop.listen(any_port, options).value();
  address_ = loop.local_address(listener_).value();
}

void Door::start() { loop_.accept(accept_op_, listener_, {}); }

void Door::stop() {
  loop_.cancel(accept_op_);
  run_until(loop_, [this] { return accept_op_.is_idle(); });
}

Fd Door::take() {
  if (accept_op_.is_idle()) start();
  BOOST_TEST_REQUIRE(run_until(loop_, [this] { return !accepted_.empty(); }));
  const Fd fd = accepted_.front();
  accepted_.erase(accepted_.begin());
  return fd;
}

void Door::close() {
  stop();
  for (const Fd fd : accepted_) loop_.close(fd, Loop::Ending::abort);
  accepted_.clear();
  if (listener_.is_open()) loop_.close(listener_, Loop::Ending::orderly);
  listener_ = Fd();
}

void Door::on_accepted(Completion&& done) {
  if (done.fd.is_open()) {
    BOOST_TEST(!done.is_last);
    accepted_.push_back(done.fd);
    return;
  }
  BOOST_TEST(done.is_last);
  last_error = done.result;
  ++ends;
}

Pair::Pair(Loop& loop) : client(loop), server(loop) {
  Door door(loop);
  client.connect(door.address());
  server.own(door.take());
  BOOST_TEST_REQUIRE(run_until(loop, [this] { return client.is_connected(); }));
}

}  // namespace istmo::io::suite
