// Redeems an AccessToken at the site that issued it (grant_server.h has the exchange).
//
// Redeemer: on a loop. Owned by the controller, control thread only; one token at a time, any
// number one after the other. Ends with cancel(), then is_idle() on the loop.
//
// The URLs of the token are tried in turn until one of them completes a TLS 1.3 handshake with a
// certificate of the token's CA for the host in the URL: kTryTimeout each while others are left.
// Then the code is sent once. 10 s for that, 256 KiB at most, no redirects. An answer that is final
// for this token (403, 404; nothing in the token can be tried) is an Error::config, one that asks
// to wait (429) an Error::limit; after any other error the token may be good.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/desired.h"
#include "control/pki.h"
#include "dataplane/io/loop.h"
#include "dataplane/transport/tls_context.h"

namespace istmo::control {

inline constexpr Duration kRedeemTryTimeout = Duration::seconds(2);
inline constexpr Duration kRedeemTimeout = Duration::seconds(10);
inline constexpr size_t kRedeemReplyBytesMax = 256 * 1024;

// What a token gives.
struct Redemption {
  SecretDocument secret;
  std::vector<LinkDocument> links;  // not empty; all name the secret; cost as the token says
  std::string to_yaml() const;      // for SiteState::put_redeemed
};

class RedeemSink {
 public:
  // Called once per start() that is not cancelled, from a turn of the loop. May start() again.
  virtual void on_redeemed(Result<Redemption> result) = 0;

 protected:
  ~RedeemSink() = default;
};

// Host of the token's URLs -> numeric addresses. Hosts that are numeric need no entry.
using RedeemAddresses = std::map<std::string, std::vector<std::string>>;
// Host names that have to be resolved for this token.
std::vector<std::string> redeem_hosts(const AccessTokenDocument& token);

class Redeemer {
 public:
  Redeemer(io::Loop& loop, RedeemSink& sink);
  ~Redeemer();

  // is_idle(). `site_id`: of this site. `key_log` may be nullptr.
  void start(const AccessTokenDocument& token, const std::string& site_id,
             const RedeemAddresses& addresses, const transport::KeyLog* key_log);
  void cancel();
  bool is_idle() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

// For commands: resolves, redeems on a loop of its own and waits.
Result<Redemption> redeem_blocking(const AccessTokenDocument& token, const std::string& site_id);

}  // namespace istmo::control
