// Keeps one connection of a Link document open: connection i of max(workers here, workers there).
//
// Dials the targets in turn. While no attempt has succeeded a new one starts every second beside
// those under way, so that a network that comes back is noticed at once and a slow one still gets
// its time. After a failure: the first retry at once, then exponential backoff with jitter, at
// most 1 s when the network refused and 10 s when the other site did, each counted for itself. A
// link that opened and did not stay is a failure of the site.
//
// Owned by the LinkSet; it ends when its document goes (retire) and its operations are done.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dataplane/io/loop.h"
#include "dataplane/proxy/report.h"
#include "dataplane/proxy/snapshot.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::proxy {

class Link;
class Worker;

class LinkDialer {
 public:
  LinkDialer(Worker& worker, const LinkConfig& config, uint32_t connection);
  ~LinkDialer();

  const std::string& name() const { return config_.name; }
  uint32_t connection() const { return connection_; }
  const LinkConfig& config() const { return config_; }
  bool has_link(const Link& link) const { return link_ == &link; }
  bool is_open() const;
  bool is_retired() const { return is_retired_; }

  void start() { attempt(); }
  // A changed document: costs and targets count from the next attempt; new credentials from then
  // on too. A connection that is open stays, unless the cost changed.
  void update(const LinkConfig& config);
  void retire();
  bool can_be_freed() const { return is_retired_ && attempts_.empty() && !link_; }
  // Our link leads to a process that leaves: it goes on without us, and we dial anew.
  void let_go();
  // Our link ended; `open_time`: how long it was open, if its handshake had succeeded.
  void on_link_ended(std::optional<Duration> open_time, const std::string& error);
  LinkChange change() const;

 private:
  static constexpr size_t kAttemptsMax = 8;
  static constexpr Duration kAttemptInterval = Duration::seconds(1);
  static constexpr Duration kAttemptTimeout = Duration::seconds(8);
  static constexpr Duration kBackoffFirst = Duration::milliseconds(50);
  static constexpr Duration kBackoffNetwork = Duration::seconds(1);
  static constexpr Duration kBackoffSite = Duration::seconds(10);
  static constexpr Duration kSettledTime = Duration::seconds(5);  // open so long: no failure

  struct Attempt {
    Attempt(LinkDialer& dialer_, const io::Address& to, std::string host_)
        : dialer(dialer_), address(to), host(std::move(host_)) {}
    void on_connected(io::Completion&& done) { dialer.on_connected(*this, std::move(done)); }
    LinkDialer& dialer;
    io::Address address;
    std::string host;
    Instant started;
    io::OpOf<Attempt, &Attempt::on_connected> connect_op{*this};
  };

  void attempt();
  void on_connected(Attempt& attempt, io::Completion&& done);
  void start_link(Attempt& attempt, io::Fd fd);
  void back_off(uint32_t failures, Duration longest);
  void cancel_attempts();
  void fail(std::string error);

  Worker& worker_;
  LinkConfig config_;
  uint32_t connection_;
  std::optional<transport::TlsContext> context_;
  Link* link_ = nullptr;
  size_t next_target_ = 0;
  uint32_t network_failures_ = 0;  // in a row
  uint32_t site_failures_ = 0;     // in a row, whatever the network did between them
  bool is_retired_ = false;
  std::string error_;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  io::TimerOf<LinkDialer, &LinkDialer::attempt> timer_{*this};
};

}  // namespace istmo::proxy
