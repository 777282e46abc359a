// AccessToken documents: each is redeemed once, and what it gave is kept in the site's state as
// documents that count like written ones.
//
// Owned by the controller, control thread only; borrows loop and state. A refusal is final until
// the document changes; a token whose site cannot be reached is tried again. cancel(), then wait
// for is_idle() on the loop, before it is destroyed.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "control/desired.h"
#include "control/observed.h"
#include "control/redeem.h"
#include "control/site_state.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

// Called from turns of the loop.
class TokenRedemptionSink {
 public:
  virtual void on_tokens_changed() = 0;

 protected:
  ~TokenRedemptionSink() = default;
};

class TokenRedemption final : private RedeemSink {
 public:
  TokenRedemption(io::Loop& loop, SiteState& state, TokenRedemptionSink& sink,
                  const transport::KeyLog* key_log);

  // Documents that tokens gave, added to `desired` unless it has its own of that name.
  void add_redeemed(Desired& desired) const;
  // Starts what is to be redeemed; writes observed.tokens.
  void update(const Desired& desired, Observed& observed);
  std::set<std::string> hosts_to_resolve(const Desired& desired) const;
  // `link delete` of a link that a token gave. Error::config when there is none.
  Result<> forget_link(const std::string& link_name);

  void cancel();
  bool is_idle() const { return redeemer_.is_idle(); }

 private:
  static constexpr Duration kRetryTime = Duration::seconds(10);
  void on_redeemed(Result<Redemption> result) override;
  void on_retry();
  bool is_redeemed(const AccessTokenDocument& token) const;
  bool are_hosts_known(const AccessTokenDocument& token, const Observed& observed,
                       RedeemAddresses& addresses) const;

  io::Loop& loop_;
  SiteState& state_;
  TokenRedemptionSink& sink_;
  const transport::KeyLog* key_log_;
  Redeemer redeemer_;
  std::optional<AccessTokenDocument> running_;
  struct Failure {
    AccessTokenDocument token;
    std::string text;
    bool is_final = false;
    Instant retry_at;
  };
  std::map<std::string, Failure> failures_;
  io::TimerOf<TokenRedemption, &TokenRedemption::on_retry> retry_timer_{*this};
};

}  // namespace istmo::control
