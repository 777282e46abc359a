#include "exchange.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>

namespace istmo::sim {

namespace {

uint8_t pattern_at(uint64_t exchange, Side side, uint64_t position) {
  uint64_t word = (exchange * 2 + static_cast<uint64_t>(side)) * 0x9e3779b97f4a7c15 + position / 8;
  word = (word ^ (word >> 31)) * 0xbf58476d1ce4e5b9;
  return static_cast<uint8_t>(word >> (8 * (position % 8)));
}

// Octets of a side from a position: the client's name first, then the pattern.
io::Slice make_octets(const Exchange& exchange, Side side, uint64_t position, uint32_t count) {
  io::Slice slice = io::Slice::allocate(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t at = position + i;
    const bool is_name = side == Side::client && at < Exchange::kNameBytes;
    slice.mutable_data()[i] = is_name ? static_cast<uint8_t>(exchange.id >> (8 * (7 - at)))
                                      : pattern_at(exchange.id, side, at);
  }
  return slice;
}

}  // namespace

// --- Flow --------------------------------------------------------------------------------------

Flow::Flow(Book& book, io::SimLoop& loop, Exchange* exchange, Side side)
    : book_(book), loop_(loop), exchange_(exchange), side_(side), started_at_(book.now()) {}

void Flow::connect(const io::Address& address) {
  state_ = State::connecting;
  loop_.connect(connect_op_, address, {});
}

void Flow::on_connected(io::Completion&& done) {
  if (!done.failed()) fd_ = done.fd;
  if (state_ == State::closing) return finish_closing();
  if (done.failed()) return fail(-done.result);
  take(done.fd);
}

void Flow::take(io::Fd fd) {
  fd_ = fd;
  state_ = State::open;
  has_opened_ = true;
  loop_.receive(receive_op_, fd_);
  write();
}

void Flow::abort() {
  if (state_ == State::done || state_ == State::closing) return;
  begin_closing(io::Loop::Ending::abort);
}

bool Flow::is_complete() const {
  return exchange_ && has_end_ && error_ == 0 && received_ == exchange_->total(other_side());
}

void Flow::read() {
  if (state_ == State::open && receive_op_.is_idle() && !has_end_) loop_.receive(receive_op_, fd_);
}

void Flow::on_received(io::Completion&& done) {
  if (!done.bytes.empty()) check(std::move(done.bytes));
  if (state_ != State::open) {
    if (done.is_last) finish_closing();
    return;
  }
  if (done.is_last) {
    if (done.result == 0) return on_end();
    if (!done.is_cancelled()) return fail(-done.result);
    if (received_ < exchange_->plan(side_).read_limit) {
      const Duration pause = random_pause(exchange_->plan(side_).read_pause_max);
      loop_.timers().arm(read_timer_, loop_.now() + pause);
    }
    return;
  }
  if (exchange_) {
    const FlowPlan& plan = exchange_->plan(side_);
    const bool has_enough = received_ >= plan.read_limit;
    if (has_enough || plan.read_pause_max > Duration{}) loop_.cancel(receive_op_);
  }
  write();
}

void Flow::check(io::Chain&& bytes) {
  last_received_at_ = book_.now();
  if (!exchange_) identify(bytes);
  if (!exchange_) return;
  for (; !bytes.empty(); bytes.drop_front(bytes.slice(0).size())) {
    for (const uint8_t octet : bytes.slice(0).bytes()) {
      const bool is_name = side_ == Side::server && received_ < Exchange::kNameBytes;
      if (!is_name && octet != pattern_at(exchange_->id, other_side(), received_)) {
        BOOST_ERROR("exchange " << exchange_->id << ": wrong octet at " << received_);
        return abort();
      }
      ++received_;
    }
  }
  if (received_ > exchange_->total(other_side())) {
    BOOST_ERROR("exchange " << exchange_->id << ": more octets than were sent");
  }
}

// A server learns which exchange this is. The octets of the name stay in `bytes`.
void Flow::identify(io::Chain& bytes) {
  name_.append(std::move(bytes));
  bytes.clear();
  if (name_.size() < Exchange::kNameBytes) return;
  const Bytes name = name_.make_contiguous(Exchange::kNameBytes);
  exchange_ = book_.find(load_big_endian<uint64_t>(name.data()));
  if (!exchange_) {
    BOOST_ERROR("a connection without a valid name");
    return abort();
  }
  exchange_->servers.push_back(this);
  bytes.append(std::move(name_));
}

void Flow::on_end() {
  has_end_ = true;
  if (exchange_) {
    const bool is_in_order = exchange_->plan(other_side()).finale != Finale::reset &&
                             received_ == exchange_->total(other_side());
    if (!is_in_order) {
      BOOST_ERROR("exchange " << exchange_->id << ": an end after " << received_ << " of "
                              << exchange_->total(other_side()) << " octets, at the "
                              << (side_ == Side::client ? "client" : "server"));
    }
  } else {
    has_finished_ = true;  // a probe: nothing was said
    loop_.shutdown_send(fd_);
  }
  write();
  close_if_finished();
}

uint64_t Flow::may_produce() const {
  const FlowPlan& plan = exchange_->plan(side_);
  const uint64_t name_bytes = side_ == Side::client ? Exchange::kNameBytes : 0;
  uint64_t most = exchange_->total(side_);
  if (plan.waits_for_end && !has_end_) most = name_bytes;
  if (plan.is_echo) most = std::min(most, received_ + name_bytes);
  return most - produced_;
}

void Flow::write() {
  if (state_ != State::open || !exchange_ || has_finished_) return;
  if (!send_op_.is_idle() || write_timer_.is_armed()) return;
  if (sent_ == exchange_->total(side_)) {
    const bool may_end = !exchange_->plan(side_).waits_for_end || has_end_;
    if (may_end) do_finale();
    return;
  }
  if (output_.empty()) {
    const uint64_t most = may_produce();
    if (most == 0) return;
    const FlowPlan& plan = exchange_->plan(side_);
    const uint64_t size = book_.rng().between(plan.write_bytes_min, plan.write_bytes_max);
    const auto count = static_cast<uint32_t>(std::min(most, size));
    output_.append(make_octets(*exchange_, side_, produced_, count));
    produced_ += count;
  }
  loop_.send(send_op_, fd_, output_);
}

void Flow::on_sent(io::Completion&& done) {
  if (done.result > 0) {
    output_.drop_front(static_cast<uint64_t>(done.result));
    sent_ += static_cast<uint64_t>(done.result);
  }
  if (state_ == State::closing) return finish_closing();
  if (done.failed()) return fail(-done.result);
  const Duration pause = random_pause(exchange_->plan(side_).write_pause_max);
  if (pause == Duration{}) return write();
  loop_.timers().arm(write_timer_, loop_.now() + pause);
}

void Flow::do_finale() {
  switch (exchange_->plan(side_).finale) {
    case Finale::finish:
      has_finished_ = true;
      loop_.shutdown_send(fd_);
      return close_if_finished();
    case Finale::reset: return begin_closing(io::Loop::Ending::abort);
    case Finale::stay:
      if (!has_end_) return;
      has_finished_ = true;
      return close_if_finished();
  }
}

void Flow::close_if_finished() {
  if (state_ == State::open && has_finished_ && has_end_) {
    begin_closing(io::Loop::Ending::orderly);
  }
}

void Flow::fail(int error) {
  error_ = error;
  begin_closing(io::Loop::Ending::abort);
}

void Flow::begin_closing(io::Loop::Ending ending) {
  state_ = State::closing;
  ending_ = ending;
  loop_.timers().cancel(read_timer_);
  loop_.timers().cancel(write_timer_);
  loop_.cancel(connect_op_);
  loop_.cancel(receive_op_);
  loop_.cancel(send_op_);
  finish_closing();
}

void Flow::finish_closing() {
  if (!connect_op_.is_idle() || !receive_op_.is_idle() || !send_op_.is_idle()) return;
  if (state_ == State::done) return;
  state_ = State::done;
  done_at_ = book_.now();
  name_.clear();  // its blocks are the loop's
  if (fd_.is_open()) loop_.close(fd_, ending_);
  book_.on_flow_done();
}

Duration Flow::random_pause(Duration most) {
  if (most == Duration{}) return {};
  return Duration{static_cast<int64_t>(book_.rng().below(static_cast<uint64_t>(most.ns)))};
}

// --- Server ------------------------------------------------------------------------------------

Server::Server(Book& book, io::SimLoop& loop, const io::Address& address)
    : book_(book), loop_(loop), address_(address) {}

void Server::open() {
  auto fd = loop_.listen(address_, {});
  BOOST_REQUIRE(fd.has_value());
  fd_ = *fd;
  loop_.accept(accept_op_, fd_, {});
}

// Nothing is accepted after this; the last completion closes the socket.
void Server::close() { loop_.cancel(accept_op_); }

void Server::on_accepted(io::Completion&& done) {
  if (done.is_last) {
    loop_.close(fd_, io::Loop::Ending::orderly);
    fd_ = io::Fd();
    return;
  }
  ++accepted_;
  book_.add_flow(loop_, nullptr, Side::server).take(done.fd);
}

// --- Book --------------------------------------------------------------------------------------

Book::~Book() { ASSERT(is_idle()); }

Exchange& Book::start(io::SimLoop& loop, const io::Address& address, const FlowPlan& client,
                      const FlowPlan& server) {
  const uint64_t id = next_id_++;
  auto& exchange = exchanges_[id];
  exchange =
      std::make_unique<Exchange>(Exchange{.id = id, .client_plan = client, .server_plan = server});
  exchange->client = &add_flow(loop, exchange.get(), Side::client);
  exchange->client->connect(address);
  return *exchange;
}

Exchange* Book::find(uint64_t id) {
  const auto found = exchanges_.find(id);
  return found == exchanges_.end() ? nullptr : found->second.get();
}

Outcomes Book::outcomes() const {
  Outcomes outcomes;
  for (const auto& [id, exchange] : exchanges_) {
    outcomes.completed += exchange->client->is_complete();
    outcomes.resets += exchange->client->was_reset();
  }
  return outcomes;
}

Flow& Book::add_flow(io::SimLoop& loop, Exchange* exchange, Side side) {
  ++flows_live_;
  return *flows_.emplace_back(std::make_unique<Flow>(*this, loop, exchange, side));
}

void Book::abort_all() {
  for (const auto& flow : flows_) flow->abort();
}

// --- checks ------------------------------------------------------------------------------------

void check_complete(const Exchange& exchange) {
  BOOST_TEST_CONTEXT("exchange " << exchange.id << ", client error " << exchange.client->error()) {
    BOOST_TEST(exchange.client->is_complete());
    BOOST_TEST(exchange.servers.size() == 1u);
    if (!exchange.servers.empty()) BOOST_TEST(exchange.servers.back()->is_complete());
  }
}

void check_reset(const Exchange& exchange) {
  BOOST_TEST_CONTEXT("exchange " << exchange.id) {
    const bool client_resets = exchange.client_plan.finale == Finale::reset;
    const bool server_resets = exchange.server_plan.finale == Finale::reset;
    BOOST_TEST(!exchange.client->has_end());
    if (!client_resets) BOOST_TEST(exchange.client->was_reset());
    for (const Flow* server : exchange.servers) {
      BOOST_TEST(server->is_done());
      BOOST_TEST(!server->has_end());
      if (!server_resets) BOOST_TEST(server->was_reset());
    }
  }
}

void check_complete_or_reset(const Exchange& exchange) {
  BOOST_TEST_CONTEXT("exchange " << exchange.id) {
    BOOST_TEST(exchange.client->is_done());
    BOOST_TEST((exchange.client->is_complete() || exchange.client->was_reset()));
    for (const Flow* server : exchange.servers) {
      BOOST_TEST(server->is_done());
      BOOST_TEST((server->is_complete() || server->was_reset()));
    }
  }
}

}  // namespace istmo::sim
