// Simulated clients and servers that check every octet. An Exchange is one connection of a client
// to a service and what both programs plan to do on it; a Flow is one program's socket.
//
// The client begins with eight octets that name the exchange, so that the server finds its plan
// wherever the connection comes out. After that each side sends a pattern that depends on the
// exchange, the side and the position: an octet that is lost, doubled or out of place is noticed.
// An end (EOF) before the other program ended in order is an error too.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "dataplane/io/sim_loop.h"

namespace istmo::sim {

enum class Side : uint8_t { client, server };

// What a program does when it has sent everything.
enum class Finale : uint8_t { finish, reset, stay };

struct FlowPlan {
  uint64_t bytes = 0;  // to send
  Finale finale = Finale::finish;
  bool waits_for_end = false;  // sends when the other side has ended
  bool is_echo = false;        // sends no more than it received (the client: and its name)
  uint32_t write_bytes_min = 1;
  uint32_t write_bytes_max = 16 * 1024;  // writes have random sizes up to this
  Duration write_pause_max{};            // between writes
  Duration read_pause_max{};             // after each completion: a slow reader
  uint64_t read_limit = UINT64_MAX;      // then it never reads again
};

class Book;
class Flow;

struct Exchange {
  uint64_t id = 0;
  FlowPlan client_plan;
  FlowPlan server_plan;
  Flow* client = nullptr;
  std::vector<Flow*> servers;  // more than one only after failed attempts

  const FlowPlan& plan(Side side) const { return side == Side::client ? client_plan : server_plan; }
  // Octets of a side, the client's name of the exchange included.
  uint64_t total(Side side) const {
    return plan(side).bytes + (side == Side::client ? kNameBytes : 0);
  }
  static constexpr uint64_t kNameBytes = 8;
};

// One socket of a program. Owned by the Book.
class Flow {
 public:
  Flow(Book& book, io::SimLoop& loop, Exchange* exchange, Side side);
  void connect(const io::Address& address);
  void take(io::Fd fd);
  void abort();  // the test gives up

  bool is_done() const { return state_ == State::done; }
  bool has_opened() const { return has_opened_; }
  bool has_end() const { return has_end_; }
  int error() const { return error_; }  // errno, 0: none
  bool was_reset() const { return error_ == ECONNRESET || error_ == EPIPE; }
  uint64_t received() const { return received_; }
  uint64_t sent() const { return sent_; }
  Instant started_at() const { return started_at_; }
  Instant done_at() const { return done_at_; }
  Instant last_received_at() const { return last_received_at_; }
  const Exchange* exchange() const { return exchange_; }
  // Received everything, and then the end.
  bool is_complete() const;

 private:
  enum class State : uint8_t { idle, connecting, open, closing, done };

  void on_connected(io::Completion&& done);
  void on_received(io::Completion&& done);
  void on_sent(io::Completion&& done);
  void read();
  void write();
  void check(io::Chain&& bytes);
  void identify(io::Chain& bytes);
  void on_end();
  void do_finale();
  void close_if_finished();
  void fail(int error);
  void begin_closing(io::Loop::Ending ending);
  void finish_closing();
  uint64_t may_produce() const;
  Duration random_pause(Duration most);
  Side other_side() const { return side_ == Side::client ? Side::server : Side::client; }

  Book& book_;
  io::SimLoop& loop_;
  Exchange* exchange_;
  Side side_;
  State state_ = State::idle;
  io::Loop::Ending ending_ = io::Loop::Ending::orderly;
  io::Fd fd_;
  io::Chain output_;
  io::Chain name_;  // server: the first octets
  uint64_t produced_ = 0;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  bool has_opened_ = false;
  bool has_end_ = false;
  bool has_finished_ = false;
  int error_ = 0;
  Instant started_at_;
  Instant done_at_;
  Instant last_received_at_;
  io::OpOf<Flow, &Flow::on_connected> connect_op_{*this};
  io::OpOf<Flow, &Flow::on_received> receive_op_{*this};
  io::OpOf<Flow, &Flow::on_sent> send_op_{*this};
  io::TimerOf<Flow, &Flow::read> read_timer_{*this};
  io::TimerOf<Flow, &Flow::write> write_timer_{*this};
};

// A listening program: every connection becomes a Flow.
class Server {
 public:
  Server(Book& book, io::SimLoop& loop, const io::Address& address);
  void open();
  void close();
  bool is_open() const { return fd_.is_open(); }
  bool is_idle() const { return accept_op_.is_idle(); }
  const io::Address& address() const { return address_; }
  uint64_t accepted() const { return accepted_; }

 private:
  void on_accepted(io::Completion&& done);

  Book& book_;
  io::SimLoop& loop_;
  io::Address address_;
  io::Fd fd_;
  uint64_t accepted_ = 0;
  io::OpOf<Server, &Server::on_accepted> accept_op_{*this};
};

// How exchanges ended for their clients.
struct Outcomes {
  uint64_t completed = 0;
  uint64_t resets = 0;
};

// All exchanges and flows of one simulation.
class Book {
 public:
  Book(const io::SimNetwork& network, uint64_t seed) : network_(network), rng_(seed) {}
  Instant now() const { return network_.now(); }
  ~Book();

  Exchange& start(io::SimLoop& loop, const io::Address& address, const FlowPlan& client,
                  const FlowPlan& server);
  Exchange* find(uint64_t id);
  Flow& add_flow(io::SimLoop& loop, Exchange* exchange, Side side);
  Rng& rng() { return rng_; }
  bool is_idle() const { return flows_live_ == 0; }
  uint32_t flows_live() const { return flows_live_; }
  void on_flow_done() { --flows_live_; }
  void abort_all();
  std::map<uint64_t, std::unique_ptr<Exchange>>& exchanges() { return exchanges_; }
  Outcomes outcomes() const;

 private:
  const io::SimNetwork& network_;
  Rng rng_;
  uint64_t next_id_ = 1;
  uint32_t flows_live_ = 0;
  std::map<uint64_t, std::unique_ptr<Exchange>> exchanges_;
  std::deque<std::unique_ptr<Flow>> flows_;
};

// Both programs received everything, and the end; nobody was reset.
void check_complete(const Exchange& exchange);
// Both sides that were connected saw a reset, and neither saw an end.
void check_reset(const Exchange& exchange);
// Complete, or reset: never an end too early (Flow checks that itself).
void check_complete_or_reset(const Exchange& exchange);

}  // namespace istmo::sim
