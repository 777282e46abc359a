// One redemption on its way into the ledger: it is answered when its claim lasts, and not before.
//
// Where others write the same ledger, a claim may come second: then the grant is as they left it,
// and is judged again. So of several processes that accept at once, never more than the grant
// allows are counted. In doubt a claim counts.
//
// Owned by who answers, control thread only; borrows state and sink. Tells its outcome once, from
// start() or from a turn of the loop, as the last thing it does; not after withdraw() or its end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "control/site_state.h"

namespace istmo::control {

enum class ClaimOutcome : uint8_t {
  counted,  // it lasts
  closed,   // the grant is used up, over, or gone
  failed,   // it could not be written
  refused,  // the store does not take it now
};

class PendingClaimSink {
 public:
  virtual void on_claim(ClaimOutcome outcome, const std::string& error) = 0;

 protected:
  ~PendingClaimSink() = default;
};

class PendingClaim final : private DurableWait {
 public:
  static constexpr int kTriesMax = 10;  // that came second

  PendingClaim(SiteState& state, PendingClaimSink& sink, std::string grant_uid, Claim claim,
               std::function<WallTime()> clock = &wall_now)
      : state_(state),
        sink_(sink),
        uid_(std::move(grant_uid)),
        claim_(std::move(claim)),
        clock_(std::move(clock)) {}

  void start() { try_now(); }
  // It will not be answered: neither claim nor certificate stay, unless that cannot be known.
  void withdraw();

 private:
  void on_durable(const Result<>& result) override;
  void try_now();
  void end(ClaimOutcome outcome, const std::string& error = {});

  SiteState& state_;
  PendingClaimSink& sink_;
  const std::string uid_;
  const Claim claim_;
  const std::function<WallTime()> clock_;
  int tries_ = 0;
};

}  // namespace istmo::control
