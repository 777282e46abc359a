// AccessToken documents: each is redeemed once, and what it gave is kept in the site's state as
// documents that count like written ones.
//
// Owned by the controller, control thread only; borrows loop and state. A token that its site
// refuses for good (403, 404) is not asked for again until its document changes. After anything
// else it is tried again: soon, then after twice as long each time, and never at the same moment
// as other sites. The code is sent when there is room on the disk for what it gives; if that cannot
// be written all the same, it counts from memory and is written as soon as it can be. cancel(),
// then wait for is_idle() on the loop, before it is destroyed.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/backoff.h"
#include "base/rng.h"
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

// How long to wait before the next try. A part of it, up to a half, is left to chance.
struct TokenPauses {
  Duration first = Duration::seconds(2);
  Duration longest = Duration::seconds(300);
  Duration limited = Duration::seconds(120);  // at least, when the site answered 429
  Duration write = Duration::seconds(5);      // what was redeemed and is not on disk
};

class TokenRedemption final : private RedeemSink {
 public:
  TokenRedemption(io::Loop& loop, SiteState& state, TokenRedemptionSink& sink,
                  const transport::KeyLog* key_log, const TokenPauses& pauses = {});

  // What tokens gave and the state keeps, by token.
  std::map<std::string, std::vector<Document>> given() const;
  // The documents of this token are kept elsewhere now.
  Result<> forget_documents(const std::string& token);
  // Starts what is to be redeemed; writes observed.tokens.
  void update(const Desired& desired, Observed& observed);
  std::set<std::string> hosts_to_resolve(const Desired& desired) const;
  // `link delete` of a link that a token gave. Error::config when there is none.
  Result<> forget_link(const std::string& link_name);

  void cancel();
  bool is_idle() const { return redeemer_.is_idle(); }

 private:
  struct Failure {
    AccessTokenDocument token;
    std::string text;
    bool is_final = false;
    Backoff backoff;
    Instant retry_at;
  };

  void on_redeemed(Result<Redemption> result) override;
  void on_retry();
  void start(const AccessTokenDocument& token, const RedeemAddresses& addresses);
  void fail(const AccessTokenDocument& token, const Error& error);
  void write_unwritten();
  void arm_retry();
  // By token: in the state, or still to be written there.
  std::map<std::string, RedeemedToken, std::less<>> redeemed() const;
  bool is_redeemed(const AccessTokenDocument& token) const;
  bool are_hosts_known(const AccessTokenDocument& token, const Observed& observed,
                       RedeemAddresses& addresses) const;

  io::Loop& loop_;
  SiteState& state_;
  TokenRedemptionSink& sink_;
  const transport::KeyLog* key_log_;
  const TokenPauses pauses_;
  Rng rng_;
  Redeemer redeemer_;
  std::optional<AccessTokenDocument> running_;
  std::map<std::string, Failure> failures_;
  std::map<std::string, RedeemedToken, std::less<>> unwritten_;
  Instant write_at_;
  io::TimerOf<TokenRedemption, &TokenRedemption::on_retry> retry_timer_{*this};
};

}  // namespace istmo::control
