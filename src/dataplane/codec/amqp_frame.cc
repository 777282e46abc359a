#include "dataplane/codec/amqp_frame.h"

namespace istmo::codec {
namespace {

constexpr uint64_t kErrorCode = 0x1d;
constexpr uint64_t kReceivedCode = 0x23;
constexpr uint64_t kAcceptedCode = 0x24;
constexpr uint64_t kRejectedCode = 0x25;
constexpr uint64_t kReleasedCode = 0x26;
constexpr uint64_t kModifiedCode = 0x27;
constexpr uint64_t kSourceCode = 0x28;
constexpr uint64_t kTargetCode = 0x29;
constexpr uint64_t kCoordinatorCode = 0x30;
constexpr uint32_t kSymbolsMax = 64;      // capabilities or mechanisms of one field
constexpr uint32_t kPropertiesMax = 128;  // keys and values of one properties map

// A field that is optional and has no default.
template <class T>
Result<std::optional<T>> optional_number(FieldReader& in, ValueKind kind) {
  const Value value = TRY(in.next());
  if (value.is_null()) return std::optional<T>();
  if (value.kind != kind) return Error::protocol("AMQP field has another type");
  return std::optional<T>(static_cast<T>(value.number));
}

Result<std::optional<Bytes>> optional_binary(FieldReader& in) {
  const Value value = TRY(in.next());
  if (value.is_null()) return std::optional<Bytes>();
  if (value.kind != ValueKind::binary) return Error::protocol("AMQP field is no binary");
  return std::optional<Bytes>(value.bytes);
}

// One symbol or an array of symbols (multiple="true").
Result<> read_symbols(FieldReader& in, std::vector<std::string_view>& symbols) {
  const Value value = TRY(in.next());
  if (value.is_null()) return {};
  if (value.kind == ValueKind::symbol) {
    symbols.push_back(value.text());
    return {};
  }
  if (value.kind != ValueKind::array) return Error::protocol("AMQP field holds no symbols");
  if (value.count > kSymbolsMax) return Error::protocol("too many symbols in an AMQP field");
  Reader elements(value.bytes);
  for (uint32_t i = 0; i < value.count; ++i) {
    const Value element = TRY(read_element(elements, value.constructor));
    if (element.kind != ValueKind::symbol) return Error::protocol("AMQP field holds no symbols");
    symbols.push_back(element.text());
  }
  return {};
}

void write_symbols(FieldWriter& out, const std::vector<std::string_view>& symbols) {
  if (symbols.empty()) return out.null();
  if (symbols.size() == 1) return out.field().symbol(symbols[0]);
  out.field().symbol_array(symbols);
}

// Calls visit(key, value) for each pair of a map with text keys; other keys are passed over.
template <class Visitor>
Result<> read_properties(FieldReader& in, Visitor&& visit) {
  const Value map = TRY(in.next());
  if (map.is_null()) return {};
  if (map.kind != ValueKind::map) return Error::protocol("AMQP properties are no map");
  if (map.count > kPropertiesMax) return Error::protocol("too many AMQP properties");
  Reader elements(map.bytes);
  for (uint32_t i = 0; i < map.count; i += 2) {
    const Value key = TRY(read_value(elements));
    const Value value = TRY(read_value(elements));
    if (key.is_text()) visit(key.text(), value);
  }
  if (!elements.empty()) return Error::protocol("octets behind the last AMQP property");
  return {};
}

Result<> read_byte_limit(FieldReader& in, std::optional<uint64_t>& limit) {
  return read_properties(in, [&](std::string_view name, const Value& value) {
    if (name == kByteLimitProperty && value.kind == ValueKind::uint64) limit = value.number;
  });
}

void write_byte_limit(FieldWriter& out, std::optional<uint64_t> limit) {
  if (!limit) return out.null();
  AmqpWriter& writer = out.field();
  const auto mark = writer.begin_compound();
  writer.symbol(kByteLimitProperty);
  writer.u64(*limit);
  writer.end_map(mark, 2);
}

Result<> read_error_list(const Described& described, AmqpError& error) {
  if (described.code != kErrorCode || described.value.kind != ValueKind::list) {
    return Error::protocol("AMQP error field is no error");
  }
  FieldReader in(described.value);
  error.condition = TRY(in.text());
  error.description = TRY(in.text());
  return {};
}

Result<> read_error(FieldReader& in, AmqpError& error) {
  const Value value = TRY(in.next());
  if (value.is_null()) return {};
  return read_error_list(TRY(read_described(value)), error);
}

void write_error(FieldWriter& out, const AmqpError& error) {
  if (error.condition.empty()) return out.null();
  AmqpWriter& writer = out.field();
  writer.descriptor(kErrorCode);
  FieldWriter fields(writer);
  fields.field().symbol(error.condition);
  if (!error.description.empty()) fields.field().string(error.description);
}

Result<> read_terminus(FieldReader& in, Terminus& terminus) {
  const Value value = TRY(in.next());
  if (value.is_null()) return {};
  const Described described = TRY(read_described(value));
  if (described.value.kind != ValueKind::list) return Error::protocol("AMQP terminus is no list");
  if (described.code == kCoordinatorCode) {
    terminus.kind = Terminus::Kind::coordinator;
    return {};
  }
  if (described.code != kSourceCode && described.code != kTargetCode) {
    return Error::protocol("unknown AMQP terminus");
  }
  terminus.kind = Terminus::Kind::node;
  FieldReader fields(described.value);
  const Value address = TRY(fields.next());
  if (address.is_text()) terminus.address = address.text();
  else if (!address.is_null()) return Error::protocol("AMQP address is no string");
  TRY(fields.skip(3));  // durable, expiry-policy, timeout
  terminus.is_dynamic = TRY(fields.boolean(false));
  return {};
}

void write_terminus(FieldWriter& out, const Terminus& terminus, uint64_t code) {
  if (terminus.kind == Terminus::Kind::null) return out.null();
  AmqpWriter& writer = out.field();
  writer.descriptor(terminus.kind == Terminus::Kind::coordinator ? kCoordinatorCode : code);
  FieldWriter fields(writer);
  if (terminus.kind == Terminus::Kind::coordinator) return;
  if (terminus.address) fields.field().string(*terminus.address);
  else fields.null();
  for (int i = 0; i < 3; ++i) fields.null();  // durable, expiry-policy, timeout
  if (terminus.is_dynamic) fields.field().boolean(true);
}

Result<> read_state(FieldReader& in, DeliveryState& state) {
  const Value value = TRY(in.next());
  if (value.is_null()) return {};
  const Described described = TRY(read_described(value));
  switch (described.code) {
    case kReceivedCode: state.kind = DeliveryState::Kind::received; return {};
    case kAcceptedCode: state.kind = DeliveryState::Kind::accepted; return {};
    case kReleasedCode: state.kind = DeliveryState::Kind::released; return {};
    case kModifiedCode: state.kind = DeliveryState::Kind::modified; return {};
    case kRejectedCode: break;
    default: state.kind = DeliveryState::Kind::other; return {};
  }
  state.kind = DeliveryState::Kind::rejected;
  if (described.value.kind != ValueKind::list) return Error::protocol("AMQP outcome is no list");
  FieldReader fields(described.value);
  return read_error(fields, state.error);
}

void write_state(FieldWriter& out, const DeliveryState& state) {
  using enum DeliveryState::Kind;
  if (state.kind == none || state.kind == other) return out.null();
  AmqpWriter& writer = out.field();
  switch (state.kind) {
    case accepted: writer.descriptor(kAcceptedCode); break;
    case released: writer.descriptor(kReleasedCode); break;
    case modified: writer.descriptor(kModifiedCode); break;
    case rejected: writer.descriptor(kRejectedCode); break;
    case received:
    case none:
    case other: writer.descriptor(kReceivedCode); break;
  }
  FieldWriter fields(writer);
  if (state.kind == rejected) write_error(fields, state.error);
  if (state.kind == received) {  // 3.4.1: section-number and section-offset are mandatory
    fields.field().u32(0);
    fields.field().u64(0);
  }
}

template <class T>
void write_optional(FieldWriter& out, const std::optional<T>& number) {
  if (!number) return out.null();
  if constexpr (sizeof(T) == 2) out.field().u16(*number);
  else if constexpr (sizeof(T) == 4) out.field().u32(*number);
  else out.field().u64(*number);
}

void write_text(FieldWriter& out, std::string_view text) {
  if (text.empty()) out.null();
  else out.field().string(text);
}

}  // namespace

Result<FrameHeader> read_frame_header(Bytes bytes) {
  Reader in(bytes);
  FrameHeader header;
  header.size = TRY(in.u32());
  header.data_offset = TRY(in.u8());
  const uint8_t type = TRY(in.u8());
  header.channel = TRY(in.u16());
  if (header.size < kFrameHeaderBytes) return Error::protocol("frame shorter than its header");
  if (header.data_offset < 2) return Error::protocol("frame data offset below 2");
  if (header.body_offset() > header.size) return Error::protocol("frame body behind its end");
  if (type > 1) return Error::protocol("unknown frame type " + std::to_string(type));
  header.type = static_cast<FrameType>(type);
  return header;
}

Result<PerformativeHead> read_performative_head(Bytes body) {
  Reader in(body);
  const Described described = TRY(read_described(in));
  if (described.value.kind != ValueKind::list) return Error::protocol("performative is no list");
  return PerformativeHead{
      .code = described.code, .fields = described.value, .size = body.size() - in.left()};
}

size_t performative_bytes(Bytes first_octets) {
  Reader in(first_octets);
  const auto marker = in.u8();
  if (!marker || *marker != 0) return 0;
  if (!read_value(in)) return 0;  // the descriptor
  const size_t before = first_octets.size() - in.left();
  const auto code = in.u8();
  if (!code) return 0;
  if (*code == 0x45) return before + 1;
  if (*code == 0xc0) {
    const auto size = in.u8();
    return size ? before + 2 + *size : 0;
  }
  if (*code == 0xd0) {
    const auto size = in.u32();
    return size ? before + 5 + *size : 0;
  }
  return 0;
}

Result<> decode(const Value& fields, Open& open) {
  FieldReader in(fields);
  open.container_id = TRY(in.text());
  open.hostname = TRY(in.text());
  open.max_frame_size = TRY(in.u32(UINT32_MAX));
  open.channel_max = TRY(in.u16(UINT16_MAX));
  open.idle_timeout_ms = TRY(in.u32(0));
  TRY(in.skip(2));  // outgoing-locales, incoming-locales
  TRY(read_symbols(in, open.offered_capabilities));
  TRY(read_symbols(in, open.desired_capabilities));
  return read_properties(in, [&](std::string_view name, const Value& value) {
    OpenProperty property{.name = name};
    if (value.is_text()) property.value = value.text();
    else if (value.kind >= ValueKind::uint8 && value.kind <= ValueKind::uint64)
      property.value = value.number;
    open.properties.push_back(property);
  });
}

void encode(const Open& open, AmqpWriter& out) {
  out.descriptor(Open::kCode);
  FieldWriter fields(out);
  fields.field().string(open.container_id);
  write_text(fields, open.hostname);
  fields.field().u32(open.max_frame_size);
  fields.field().u16(open.channel_max);
  if (open.idle_timeout_ms > 0) fields.field().u32(open.idle_timeout_ms);
  else fields.null();
  fields.null();  // outgoing-locales
  fields.null();  // incoming-locales
  write_symbols(fields, open.offered_capabilities);
  write_symbols(fields, open.desired_capabilities);
  if (open.properties.empty()) return;
  AmqpWriter& writer = fields.field();
  const auto mark = writer.begin_compound();
  for (const auto& property : open.properties) {
    writer.symbol(property.name);
    if (auto* text = std::get_if<std::string_view>(&property.value)) writer.string(*text);
    else if (auto* number = std::get_if<uint64_t>(&property.value)) writer.u64(*number);
    else writer.null();
  }
  writer.end_map(mark, static_cast<uint32_t>(open.properties.size() * 2));
}

Result<> decode(const Value& fields, Begin& begin) {
  FieldReader in(fields);
  begin.remote_channel = TRY(optional_number<uint16_t>(in, ValueKind::uint16));
  begin.next_outgoing_id = TRY(in.required_u32());
  begin.incoming_window = TRY(in.required_u32());
  begin.outgoing_window = TRY(in.required_u32());
  begin.handle_max = TRY(in.u32(kHandleMax));
  return {};
}

void encode(const Begin& begin, AmqpWriter& out) {
  out.descriptor(Begin::kCode);
  FieldWriter fields(out);
  write_optional(fields, begin.remote_channel);
  fields.field().u32(begin.next_outgoing_id);
  fields.field().u32(begin.incoming_window);
  fields.field().u32(begin.outgoing_window);
  if (begin.handle_max != kHandleMax) fields.field().u32(begin.handle_max);
}

Result<> decode(const Value& fields, Attach& attach) {
  FieldReader in(fields);
  attach.name = TRY(in.text());
  attach.handle = TRY(in.required_u32());
  attach.role = static_cast<LinkEndRole>(TRY(in.required_boolean()));
  attach.sender_settle_mode = TRY(in.u8(2));
  attach.receiver_settle_mode = TRY(in.u8(0));
  TRY(read_terminus(in, attach.source));
  TRY(read_terminus(in, attach.target));
  TRY(in.skip(2));  // unsettled, incomplete-unsettled
  attach.initial_delivery_count = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  TRY(in.skip(3));  // max-message-size, offered-capabilities, desired-capabilities
  return read_byte_limit(in, attach.byte_limit);
}

void encode(const Attach& attach, AmqpWriter& out) {
  out.descriptor(Attach::kCode);
  FieldWriter fields(out);
  fields.field().string(attach.name);
  fields.field().u32(attach.handle);
  fields.field().boolean(attach.role == LinkEndRole::receiver);
  if (attach.sender_settle_mode != 2) fields.field().u8(attach.sender_settle_mode);
  else fields.null();
  if (attach.receiver_settle_mode != 0) fields.field().u8(attach.receiver_settle_mode);
  else fields.null();
  write_terminus(fields, attach.source, kSourceCode);
  write_terminus(fields, attach.target, kTargetCode);
  for (int i = 0; i < 2; ++i) fields.null();  // unsettled, incomplete-unsettled
  write_optional(fields, attach.initial_delivery_count);
  for (int i = 0; i < 3; ++i) fields.null();  // max-message-size, capabilities
  write_byte_limit(fields, attach.byte_limit);
}

Result<> decode(const Value& fields, Flow& flow) {
  FieldReader in(fields);
  flow.next_incoming_id = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  flow.incoming_window = TRY(in.required_u32());
  flow.next_outgoing_id = TRY(in.required_u32());
  flow.outgoing_window = TRY(in.required_u32());
  flow.handle = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  flow.delivery_count = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  flow.link_credit = TRY(in.u32(0));
  TRY(in.skip(1));  // available
  flow.drain = TRY(in.boolean(false));
  flow.echo = TRY(in.boolean(false));
  return read_byte_limit(in, flow.byte_limit);
}

void encode(const Flow& flow, AmqpWriter& out) {
  out.descriptor(Flow::kCode);
  FieldWriter fields(out);
  write_optional(fields, flow.next_incoming_id);
  fields.field().u32(flow.incoming_window);
  fields.field().u32(flow.next_outgoing_id);
  fields.field().u32(flow.outgoing_window);
  write_optional(fields, flow.handle);
  write_optional(fields, flow.delivery_count);
  if (flow.handle) fields.field().u32(flow.link_credit);
  else fields.null();
  fields.null();  // available
  if (flow.drain) fields.field().boolean(true);
  else fields.null();
  if (flow.echo) fields.field().boolean(true);
  else fields.null();
  write_byte_limit(fields, flow.byte_limit);
}

Result<> decode(const Value& fields, Transfer& transfer) {
  FieldReader in(fields);
  transfer.handle = TRY(in.required_u32());
  transfer.delivery_id = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  transfer.delivery_tag = TRY(optional_binary(in));
  transfer.message_format = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  transfer.settled = TRY(optional_number<bool>(in, ValueKind::boolean));
  transfer.more = TRY(in.boolean(false));
  TRY(in.skip(1));  // rcv-settle-mode
  TRY(read_state(in, transfer.state));
  TRY(in.skip(1));  // resume
  transfer.aborted = TRY(in.boolean(false));
  return {};
}

void encode(const Transfer& transfer, AmqpWriter& out) {
  out.descriptor(Transfer::kCode);
  FieldWriter fields(out);
  fields.field().u32(transfer.handle);
  write_optional(fields, transfer.delivery_id);
  if (transfer.delivery_tag) fields.field().binary(*transfer.delivery_tag);
  else fields.null();
  write_optional(fields, transfer.message_format);
  if (transfer.settled) fields.field().boolean(*transfer.settled);
  else fields.null();
  if (transfer.more) fields.field().boolean(true);
  else fields.null();
  fields.null();  // rcv-settle-mode
  write_state(fields, transfer.state);
  fields.null();  // resume
  if (transfer.aborted) fields.field().boolean(true);
}

Result<> decode(const Value& fields, Disposition& disposition) {
  FieldReader in(fields);
  disposition.role = static_cast<LinkEndRole>(TRY(in.required_boolean()));
  disposition.first = TRY(in.required_u32());
  disposition.last = TRY(optional_number<uint32_t>(in, ValueKind::uint32));
  disposition.settled = TRY(in.boolean(false));
  return read_state(in, disposition.state);
}

void encode(const Disposition& disposition, AmqpWriter& out) {
  out.descriptor(Disposition::kCode);
  FieldWriter fields(out);
  fields.field().boolean(disposition.role == LinkEndRole::receiver);
  fields.field().u32(disposition.first);
  write_optional(fields, disposition.last);
  if (disposition.settled) fields.field().boolean(true);
  else fields.null();
  write_state(fields, disposition.state);
}

Result<> decode(const Value& fields, Detach& detach) {
  FieldReader in(fields);
  detach.handle = TRY(in.required_u32());
  detach.closed = TRY(in.boolean(false));
  return read_error(in, detach.error);
}

void encode(const Detach& detach, AmqpWriter& out) {
  out.descriptor(Detach::kCode);
  FieldWriter fields(out);
  fields.field().u32(detach.handle);
  if (detach.closed) fields.field().boolean(true);
  else fields.null();
  write_error(fields, detach.error);
}

Result<> decode(const Value& fields, End& end) {
  FieldReader in(fields);
  return read_error(in, end.error);
}

void encode(const End& end, AmqpWriter& out) {
  out.descriptor(End::kCode);
  FieldWriter fields(out);
  write_error(fields, end.error);
}

Result<> decode(const Value& fields, Close& close) {
  FieldReader in(fields);
  return read_error(in, close.error);
}

void encode(const Close& close, AmqpWriter& out) {
  out.descriptor(Close::kCode);
  FieldWriter fields(out);
  write_error(fields, close.error);
}

Result<> decode(const Value& fields, SaslMechanisms& mechanisms) {
  FieldReader in(fields);
  return read_symbols(in, mechanisms.mechanisms);
}

void encode(const SaslMechanisms& mechanisms, AmqpWriter& out) {
  out.descriptor(SaslMechanisms::kCode);
  FieldWriter fields(out);
  fields.field().symbol_array(mechanisms.mechanisms);  // always an array: what libraries send
}

Result<> decode(const Value& fields, SaslInit& init) {
  FieldReader in(fields);
  init.mechanism = TRY(in.text());
  init.initial_response = TRY(optional_binary(in));
  init.hostname = TRY(in.text());
  return {};
}

void encode(const SaslInit& init, AmqpWriter& out) {
  out.descriptor(SaslInit::kCode);
  FieldWriter fields(out);
  fields.field().symbol(init.mechanism);
  if (init.initial_response) fields.field().binary(*init.initial_response);
  else fields.null();
  write_text(fields, init.hostname);
}

Result<> decode(const Value& fields, SaslOutcome& outcome) {
  FieldReader in(fields);
  const Value code = TRY(in.next());
  if (code.kind != ValueKind::uint8) return Error::protocol("SASL outcome without a code");
  outcome.code = static_cast<uint8_t>(code.number);
  return {};
}

void encode(const SaslOutcome& outcome, AmqpWriter& out) {
  out.descriptor(SaslOutcome::kCode);
  FieldWriter fields(out);
  fields.field().u8(outcome.code);
}

void begin_frame(std::vector<uint8_t>& to) { to.assign(kFrameHeaderBytes, 0); }

void end_frame(std::vector<uint8_t>& frame, FrameType type, uint32_t payload_bytes) {
  store_big_endian(frame.data(), static_cast<uint32_t>(frame.size()) + payload_bytes);
  frame[4] = 2;
  frame[5] = static_cast<uint8_t>(type);
  frame[6] = frame[7] = 0;
}

}  // namespace istmo::codec
