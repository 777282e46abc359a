// Where tokens are redeemed: HTTPS (TLS 1.3 only) on the control loop, one request a connection.
//
//   POST /<grant uid>    headers `name` (of the token), `subject` (id of the redeeming site),
//                        Content-Length; the body is the code
//   200                  YAML: Secret kubernetes.io/tls and Link, both called `name`
//   400, 411, 413, 431   the request breaks a rule below     405  not POST
//   404 No such claim    unknown, expired or used up         403  the code is wrong
//   429                  too many failures                   500, 503  ours: try again
// The redemption lasts before the reply leaves (pending_claim.h). When it cannot be written the
// answer is 500, or 503 after 5 s, and the token stays good, unless nobody can tell whether it was
// written: then it counts as used.
// Codes are compared in constant time, against a dummy when there is no grant, and the code is
// judged only after that.
//
// Bounds: connections, also per source; request head 8 KiB, body 1 KiB, 10 s for all of it. A
// source (IPv4 address, IPv6 /64) that failed 10 times in a minute gets 429, from 20 on its
// connections are dropped before TLS. A TLS handshake that began and was not done is a failure: it
// has cost us a signature. When all sources together failed 300 times in a minute, one
// failure of its own is what a source may have. Counts live in memory, of at most 4096 sources.
//
// Owned by SiteAccess, control thread only; borrows loop, state and sink. Ends with close(), or
// gently with stop_accepting(), then is_idle() once the last connection is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "control/accepting_socket.h"
#include "control/access_documents.h"
#include "control/failure_limiter.h"
#include "control/http_message.h"
#include "control/pending_claim.h"
#include "control/site_state.h"
#include "dataplane/io/loop.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::control {

inline constexpr const char* kGrantServerSecret = "istmo-grant-server";
inline constexpr uint16_t kGrantPort = 9090;

// Called from turns of the loop.
class GrantServerSink {
 public:
  // A grant was redeemed (state has the claim), or its count is known to have changed.
  virtual void on_grant_redeemed(const Grant& grant) = 0;

 protected:
  ~GrantServerSink() = default;
};

struct GrantServerMetrics {
  Counter redeemed;
  Counter refused;       // 403, 404
  Counter bad_requests;  // 400, 405, 411, 413, 431, TLS that broke after its handshake
  Counter handshakes_failed;
  Counter limited;  // 429, and dropped connections
  Counter timeouts;
  Counter failed;  // 500, 503
};

struct GrantServerOptions {
  std::function<WallTime()> clock = &wall_now;
  uint32_t connections_max = 128;
  uint32_t connections_per_source_max = 32;
  Duration deadline = Duration::seconds(10);
  Duration claim_deadline = Duration::seconds(5);  // for the ledger; clients wait 10 s
  FailureLimits failures;
  const transport::KeyLog* key_log = nullptr;
  GrantServerMetrics* metrics = nullptr;  // outlives the server; nullptr: of its own
};

class GrantServer final : private AcceptSink {
 public:
  GrantServer(io::Loop& loop, SiteState& state, GrantServerSink& sink, GrantServerOptions options);
  ~GrantServer();

  // Once. Binds the first port from `first_port` (0: any) that is free on every host, of so many
  // that are tried. Hosts are numeric, one socket each ("::" takes IPv4 too); none: every address
  // of the machine. Nobody is answered before set_certificate(). Error::taken: all are somebody
  // else's.
  Result<> open(const std::vector<std::string>& hosts, uint16_t first_port,
                uint32_t ports_tried_max = 200);
  uint16_t port() const { return port_; }
  // The certificate of new connections: SiteState::server_credentials(kGrantServerSecret, ...).
  Result<> set_certificate(const proxy::Credentials& credentials);
  // What Links in replies name. Empty: redemptions are answered 503.
  void set_link_addresses(std::vector<LinkAddress> addresses);
  const GrantServerMetrics& metrics() const { return metrics_; }

  // Takes no more connections; those that are there have their time to end.
  void stop_accepting();
  void close();
  bool is_idle() const;

 private:
  class Connection;
  struct Answer;
  struct Given;
  friend class Connection;

  Result<> open_port(const std::vector<std::string>& hosts, uint16_t port);
  void on_accepted(io::Fd fd) override;
  // Either all that is to be said, or what is given once its claim lasts.
  std::variant<Answer, Given> judge(const Request& request, const std::string& source);
  std::variant<Answer, Given> give(const Grant& grant, const std::string& name,
                                   const std::string& subject);
  Answer answer_to(const Given& given, ClaimOutcome outcome, const std::string& error,
                   const std::string& source);
  Answer no_claim(const std::string& source);
  bool has_room_for(const std::string& source);
  void remove(Connection& connection);  // ends it

  io::Loop& loop_;
  SiteState& state_;
  GrantServerSink& sink_;
  GrantServerOptions options_;
  FailureLimiter failures_;
  std::unique_ptr<transport::TlsContext> context_;
  std::vector<LinkAddress> link_addresses_;
  std::list<AcceptingSocket> listening_;
  std::list<Connection> connections_;
  std::map<std::string, uint32_t> per_source_;  // open connections
  std::string dummy_code_;
  uint16_t port_ = 0;
  bool is_closing_ = false;  // no more connections
  bool is_ended_ = false;    // those that were there were ended
  GrantServerMetrics own_metrics_;
  GrantServerMetrics& metrics_;
};

}  // namespace istmo::control
