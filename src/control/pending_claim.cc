#include "control/pending_claim.h"

#include "base/log.h"

namespace istmo::control {

void PendingClaim::try_now() {
  const Grant* grant = state_.find_grant(uid_);
  if (!grant || !grant->is_open(clock_())) return end(ClaimOutcome::closed);
  if (++tries_ > kTriesMax) return end(ClaimOutcome::refused, "others redeem too often at once");
  if (const auto recorded = state_.record_claim(uid_, claim_); !recorded) {
    return end(ClaimOutcome::failed, recorded.error().text());
  }
  state_.when_durable(*this);  // last: may lead to on_durable()
}

void PendingClaim::on_durable(const Result<>& result) {
  const bool is_there = state_.has_claim(uid_, claim_.serial);
  if (result && is_there) return end(ClaimOutcome::counted);
  const bool is_ours_lost = result || result.error().error_class() == ErrorClass::taken;
  if (!is_ours_lost) return end(ClaimOutcome::refused, result.error().text());
  if (!is_there) return try_now();
  state_.when_durable(*this);  // it was another record
}

void PendingClaim::end(ClaimOutcome outcome, const std::string& error) {
  if (outcome != ClaimOutcome::counted) withdraw();
  sink_.on_claim(outcome, error);  // last: may end this object
}

void PendingClaim::withdraw() {
  unlink();
  for (const auto& done :
       {state_.withdraw_claim(uid_, claim_.serial), state_.forget_issued(claim_.serial)}) {
    if (!done) LOG_WARNING("claim not withdrawn", "grant", uid_, "error", done.error().text());
  }
}

}  // namespace istmo::control
