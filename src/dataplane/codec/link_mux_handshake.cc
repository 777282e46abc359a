// SASL EXTERNAL, open, begin, end, close.
#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/codec/link_mux_state.h"
#include "dataplane/io/cores.h"

namespace istmo::codec {
namespace {

constexpr std::string_view kExternal = "EXTERNAL";
constexpr Duration kHeartbeatIntervalMin = Duration::milliseconds(50);
constexpr size_t kSiteNameBytesMax = 256;
constexpr size_t kReplicaBytesMax = 64;

std::string text_from(const AmqpError& error, std::string_view otherwise) {
  if (error.condition.empty()) return std::string(otherwise);
  std::string text(error.condition);
  if (!error.description.empty()) text.append(": ").append(error.description);
  return text;
}

uint32_t clamped(uint64_t number) {
  return static_cast<uint32_t>(std::min<uint64_t>(number, UINT32_MAX));
}

}  // namespace

Result<> LinkMux::State::on_sasl(const PerformativeHead& head) {
  if (phase_ == Phase::mechanisms && head.code == SaslMechanisms::kCode) {
    SaslMechanisms offered;
    TRY(decode(head.fields, offered));
    if (std::ranges::find(offered.mechanisms, kExternal) == offered.mechanisms.end()) {
      return Error::protocol("SASL EXTERNAL is not offered");
    }
    send(SaslInit{.mechanism = kExternal, .initial_response = Bytes()});
    phase_ = Phase::outcome;
    return {};
  }
  if (phase_ == Phase::outcome && head.code == SaslOutcome::kCode) {
    SaslOutcome outcome;
    TRY(decode(head.fields, outcome));
    if (outcome.code != SaslOutcome::ok) return Error::refused("SASL EXTERNAL was not accepted");
    control_.append(bytes_of(kAmqpProtocolHeader));
    phase_ = Phase::amqp_header;
    return {};
  }
  if (phase_ == Phase::init && head.code == SaslInit::kCode) {
    SaslInit init;
    TRY(decode(head.fields, init));
    const bool is_right = init.mechanism == kExternal;
    send(SaslOutcome{.code = is_right ? SaslOutcome::ok : SaslOutcome::auth});
    if (!is_right) return Error::protocol("another SASL mechanism than EXTERNAL");
    phase_ = Phase::amqp_header;
    return {};
  }
  return Error::protocol("unexpected SASL frame");
}

void LinkMux::State::send_open() {
  Open open{.container_id = options_.container_id,
            .hostname = options_.hostname,
            .max_frame_size = options_.frame_bytes_max,
            .channel_max = 0,
            .idle_timeout_ms = static_cast<uint32_t>(options_.idle_timeout.to_milliseconds()),
            .offered_capabilities = {kByteCreditCapability},
            .desired_capabilities = {kByteCreditCapability}};
  open.properties = {{"product", std::string_view("istmo")},
                     {"version", std::string_view(ISTMO_VERSION)},
                     {"istmo:site", std::string_view(options_.site_name)},
                     {"istmo:replica", std::string_view(options_.replica)},
                     {"istmo:workers", uint64_t{options_.workers}},
                     {"istmo:connection", uint64_t{options_.connection}},
                     {"istmo:cost", uint64_t{options_.cost}}};
  encode_frame(open, scratch_);
  if (scratch_.size() > kFrameBytesMin) {  // the other side's limit is not known yet
    open.hostname = {};
    encode_frame(open, scratch_);
  }
  control_.append(scratch_);
  heartbeat_at_ = now_ + heartbeat_interval_;
}

void LinkMux::State::send_begin() {
  Begin begin{.next_outgoing_id = next_outgoing_id_,
              .incoming_window = free_window_frames(),
              .outgoing_window = kOutgoingWindowFrames,
              .handle_max = handle_max_};
  window_left_ = begin.incoming_window;
  if (options_.role == LinkRole::acceptor) begin.remote_channel = 0;
  send(begin);
}

Result<> LinkMux::State::on_open(const Value& fields) {
  Open open;
  TRY(decode(fields, open));
  if (open.max_frame_size < kFrameBytesMin) return Error::protocol("max-frame-size below 512");
  remote_frame_bytes_max_ = open.max_frame_size;
  remote_.container_id = open.container_id;
  for (const auto& property : open.properties) {
    if (const auto* text = std::get_if<std::string_view>(&property.value)) {
      if (property.name == "istmo:site") remote_.site_name = text->substr(0, kSiteNameBytesMax);
      if (property.name == "istmo:replica") remote_.replica = text->substr(0, kReplicaBytesMax);
    } else if (const auto* number = std::get_if<uint64_t>(&property.value)) {
      if (property.name == "istmo:workers") TRY(take_workers(*number));
      if (property.name == "istmo:connection") remote_.connection = clamped(*number);
      if (property.name == "istmo:cost") remote_.cost = clamped(*number);
    }
  }
  remote_.has_byte_credit = std::ranges::find(open.offered_capabilities, kByteCreditCapability) !=
                            open.offered_capabilities.end();
  if (open.idle_timeout_ms > 0) {
    const auto theirs = Duration::milliseconds(open.idle_timeout_ms);
    heartbeat_interval_ =
        std::max(std::min(theirs, options_.idle_timeout) / 2, kHeartbeatIntervalMin);
  }
  heartbeat_at_ = now_ + heartbeat_interval_;
  if (options_.role == LinkRole::acceptor) send_open();
  phase_ = Phase::begin;
  return {};
}

// The dialer makes as many connections. A larger number is not cut down to what could still be
// dialed: no site has so many, and whoever says so says nothing that can be believed.
Result<> LinkMux::State::take_workers(uint64_t number) {
  if (number > io::kWorkersMax) {
    return Error::protocol("istmo:workers is more than a site can have");
  }
  remote_.workers = static_cast<uint32_t>(number);
  return {};
}

Result<> LinkMux::State::on_begin(const Value& fields) {
  Begin begin;
  TRY(decode(fields, begin));
  const bool is_answer = begin.remote_channel.has_value();
  if (is_answer != (options_.role == LinkRole::dialer)) {
    return Error::protocol("begin that answers nothing, or no answer to begin");
  }
  if (begin.remote_channel.value_or(0) != 0)
    return Error::protocol("begin answers another channel");
  next_incoming_id_ = begin.next_outgoing_id;
  remote_window_ = begin.incoming_window;
  remote_handle_max_ = begin.handle_max;
  if (options_.role == LinkRole::acceptor) send_begin();
  phase_ = Phase::ready;
  push_event(LinkEvent::Kind::opened);
  return {};
}

void LinkMux::State::on_end() {
  send(End{});
  send(Close{});
  end_connection(ErrorClass::closed, "session was ended");
}

void LinkMux::State::on_close(const Value& fields) {
  Close close;
  if (!decode(fields, close)) close.error = {"amqp:decode-error", "malformed close"};
  if (phase_ != Phase::closing && is_open_sent()) send(Close{});
  end_connection(ErrorClass::closed, text_from(close.error, "connection was closed"));
}

}  // namespace istmo::codec
