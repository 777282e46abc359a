// AMQP 1.0 frames (part 2 of the specification) and SASL frames (part 5): headers and performatives
// as plain structs. Decoded texts and octets are borrowed from the input; nothing is copied.
//
// Fields that this product never looks at are skipped when read and left out when written.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "dataplane/codec/amqp_types.h"

namespace istmo::codec {

constexpr uint32_t kFrameHeaderBytes = 8;
constexpr uint32_t kFrameBytesMin = 512;  // 2.3.1: MIN-MAX-FRAME-SIZE
constexpr uint32_t kHandleMax = UINT32_MAX;

constexpr std::string_view kAmqpProtocolHeader{"AMQP\0\1\0\0", 8};
constexpr std::string_view kSaslProtocolHeader{"AMQP\3\1\0\0", 8};

// Property names and capabilities of ours.
constexpr std::string_view kByteCreditCapability = "istmo:byte-credit";
constexpr std::string_view kByteLimitProperty = "istmo:limit";
constexpr std::string_view kResetCondition = "istmo:reset";

enum class FrameType : uint8_t { amqp = 0, sasl = 1 };

struct FrameHeader {
  uint32_t size = 0;        // octets of the whole frame
  uint8_t data_offset = 2;  // where the body begins, in units of 4 octets
  FrameType type = FrameType::amqp;
  uint16_t channel = 0;

  uint32_t body_offset() const { return uint32_t{data_offset} * 4; }
};

// Reads and checks the first 8 octets of a frame.
Result<FrameHeader> read_frame_header(Bytes bytes);

// error (2.8.14). An empty condition: no error.
struct AmqpError {
  std::string_view condition;
  std::string_view description;
};

// A value of the open properties: text, a number, or something else.
struct OpenProperty {
  std::string_view name;
  std::variant<std::monostate, uint64_t, std::string_view> value;
};

struct Open {
  static constexpr uint64_t kCode = 0x10;
  std::string_view container_id;
  std::string_view hostname;
  uint32_t max_frame_size = UINT32_MAX;
  uint16_t channel_max = UINT16_MAX;
  uint32_t idle_timeout_ms = 0;  // 0: none
  std::vector<std::string_view> offered_capabilities;
  std::vector<std::string_view> desired_capabilities;
  std::vector<OpenProperty> properties;
};

struct Begin {
  static constexpr uint64_t kCode = 0x11;
  std::optional<uint16_t> remote_channel;
  uint32_t next_outgoing_id = 0;
  uint32_t incoming_window = 0;
  uint32_t outgoing_window = 0;
  uint32_t handle_max = kHandleMax;
};

// role (2.8.1): of the endpoint that sends the frame.
enum class LinkEndRole : uint8_t { sender = 0, receiver = 1 };

// source (3.5.3) or target (3.5.4), as far as it matters here.
struct Terminus {
  enum class Kind : uint8_t { null, node, coordinator };
  Kind kind = Kind::null;
  bool is_dynamic = false;
  std::optional<std::string_view> address;
};

struct Attach {
  static constexpr uint64_t kCode = 0x12;
  std::string_view name;
  uint32_t handle = 0;
  LinkEndRole role = LinkEndRole::sender;
  uint8_t sender_settle_mode = 2;    // mixed
  uint8_t receiver_settle_mode = 0;  // first
  Terminus source;
  Terminus target;
  std::optional<uint32_t> initial_delivery_count;  // senders must give it
  std::optional<uint64_t> byte_limit;              // property istmo:limit
};

struct Flow {
  static constexpr uint64_t kCode = 0x13;
  std::optional<uint32_t> next_incoming_id;
  uint32_t incoming_window = 0;
  uint32_t next_outgoing_id = 0;
  uint32_t outgoing_window = 0;
  std::optional<uint32_t> handle;  // absent: only the session
  std::optional<uint32_t> delivery_count;
  uint32_t link_credit = 0;
  bool drain = false;
  bool echo = false;
  std::optional<uint64_t> byte_limit;  // property istmo:limit
};

// delivery-state (3.4). A rejected one carries an error.
struct DeliveryState {
  enum class Kind : uint8_t { none, received, accepted, rejected, released, modified, other };
  Kind kind = Kind::none;
  AmqpError error;

  bool is_outcome() const {
    return kind == Kind::accepted || kind == Kind::rejected || kind == Kind::released ||
           kind == Kind::modified;
  }
};

struct Transfer {
  static constexpr uint64_t kCode = 0x14;
  uint32_t handle = 0;
  std::optional<uint32_t> delivery_id;
  std::optional<Bytes> delivery_tag;
  std::optional<uint32_t> message_format;
  std::optional<bool> settled;
  bool more = false;
  DeliveryState state;
  bool aborted = false;
};

struct Disposition {
  static constexpr uint64_t kCode = 0x15;
  LinkEndRole role = LinkEndRole::receiver;
  uint32_t first = 0;
  std::optional<uint32_t> last;
  bool settled = false;
  DeliveryState state;
};

struct Detach {
  static constexpr uint64_t kCode = 0x16;
  uint32_t handle = 0;
  bool closed = false;
  AmqpError error;
};

struct End {
  static constexpr uint64_t kCode = 0x17;
  AmqpError error;
};

struct Close {
  static constexpr uint64_t kCode = 0x18;
  AmqpError error;
};

struct SaslMechanisms {
  static constexpr uint64_t kCode = 0x40;
  std::vector<std::string_view> mechanisms;
};

struct SaslInit {
  static constexpr uint64_t kCode = 0x41;
  std::string_view mechanism;
  std::optional<Bytes> initial_response;
  std::string_view hostname;
};

struct SaslOutcome {
  static constexpr uint64_t kCode = 0x44;
  enum Code : uint8_t { ok = 0, auth = 1, sys = 2, sys_perm = 3, sys_temp = 4 };
  uint8_t code = ok;
};

// What a frame body begins with: a described list. `fields` is its content.
struct PerformativeHead {
  uint64_t code = 0;
  Value fields;
  size_t size = 0;  // octets up to the payload
};
Result<PerformativeHead> read_performative_head(Bytes body);
// Octets of the performative that a frame body begins with, from at least min(16, body size) of its
// first octets; 0 if they do not tell.
size_t performative_bytes(Bytes first_octets);

Result<> decode(const Value& fields, Open& open);
Result<> decode(const Value& fields, Begin& begin);
Result<> decode(const Value& fields, Attach& attach);
Result<> decode(const Value& fields, Flow& flow);
Result<> decode(const Value& fields, Transfer& transfer);
Result<> decode(const Value& fields, Disposition& disposition);
Result<> decode(const Value& fields, Detach& detach);
Result<> decode(const Value& fields, End& end);
Result<> decode(const Value& fields, Close& close);
Result<> decode(const Value& fields, SaslMechanisms& mechanisms);
Result<> decode(const Value& fields, SaslInit& init);
Result<> decode(const Value& fields, SaslOutcome& outcome);

void encode(const Open& open, AmqpWriter& out);
void encode(const Begin& begin, AmqpWriter& out);
void encode(const Attach& attach, AmqpWriter& out);
void encode(const Flow& flow, AmqpWriter& out);
void encode(const Transfer& transfer, AmqpWriter& out);
void encode(const Disposition& disposition, AmqpWriter& out);
void encode(const Detach& detach, AmqpWriter& out);
void encode(const End& end, AmqpWriter& out);
void encode(const Close& close, AmqpWriter& out);
void encode(const SaslMechanisms& mechanisms, AmqpWriter& out);
void encode(const SaslInit& init, AmqpWriter& out);
void encode(const SaslOutcome& outcome, AmqpWriter& out);

// Writes a frame in place: begin_frame() leaves room for the header, end_frame() fills it in.
// `payload_bytes` will follow from elsewhere.
void begin_frame(std::vector<uint8_t>& to);
void end_frame(std::vector<uint8_t>& frame, FrameType type, uint32_t payload_bytes = 0);

// A whole frame without payload in `to`, which is cleared first.
template <class Performative>
void encode_frame(const Performative& performative, std::vector<uint8_t>& to) {
  begin_frame(to);
  AmqpWriter out(to);
  encode(performative, out);
  end_frame(to, Performative::kCode >= 0x40 ? FrameType::sasl : FrameType::amqp);
}

}  // namespace istmo::codec
