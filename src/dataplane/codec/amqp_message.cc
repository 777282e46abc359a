#include "dataplane/codec/amqp_message.h"

#include <algorithm>
#include <array>

namespace istmo::codec {
namespace {

constexpr uint64_t kHeader = 0x70;
constexpr uint64_t kMessageAnnotations = 0x72;
constexpr uint64_t kProperties = 0x73;
constexpr uint64_t kApplicationProperties = 0x74;
constexpr uint64_t kData = 0x75;
constexpr uint64_t kSequence = 0x76;
constexpr uint64_t kValue = 0x77;
constexpr uint64_t kFooter = 0x78;

constexpr std::string_view kFieldsAnnotation = "x-opt-istmo-fields";
constexpr std::string_view kMappingProperty = "V";
constexpr std::string_view kDefaultContentType = "application/octet-stream";
constexpr uint32_t kApplicationPropertiesMax = 256;  // keys and values
constexpr uint32_t kFieldsMax = 4096;                // names and values
constexpr size_t kContentTypeBytesMax = 256;
// A head that waits for its rest, besides its octets: its objects, and those of each piece and of
// each pair that was read. Pieces are joined when they are too many.
constexpr uint64_t kHeldHeadBytes = 1024;
constexpr uint64_t kHeldPieceBytes = 64;
constexpr uint64_t kHeldPairBytes = sizeof(Fields::value_type);
constexpr uint32_t kHeldPiecesMax = 64;
// 0x00, a symbolic descriptor (the longest known has 35 octets), code, size: fits by far.
constexpr size_t kPeekBytes = 64;

Result<std::string> read_text(FieldReader& in, size_t bytes_max) {
  const auto text = TRY(in.text());
  if (text.size() > bytes_max) return Error::protocol("text in AMQP properties too long");
  return std::string(text);
}

// message-id types (3.2.11 to 3.2.14).
Result<> read_correlation(const Value& value, MessageHead& message) {
  std::string& text = message.head.correlation_id;
  switch (value.kind) {
    case ValueKind::null: return {};
    case ValueKind::uint64: text = std::to_string(value.number); break;
    case ValueKind::string:
    case ValueKind::binary:
    case ValueKind::uuid: text = value.text(); break;
    default: return Error::protocol("AMQP correlation-id has another type");
  }
  if (text.size() > kAddressBytesMax) return Error::protocol("AMQP correlation-id too long");
  std::vector<uint8_t> encoded;
  AmqpWriter(encoded).value(value);
  message.correlation_encoded = text_of(encoded);
  return {};
}

Result<> read_properties(const Value& list, MessageHead& message) {
  if (list.kind != ValueKind::list) return Error::protocol("AMQP properties section is no list");
  FieldReader in(list);
  TRY(in.skip(2));  // message-id, user-id
  message.head.to = TRY(read_text(in, kAddressBytesMax));
  TRY(in.skip(1));  // subject
  message.reply_to = TRY(read_text(in, kAddressBytesMax));
  const Value correlation = TRY(in.next());
  TRY(read_correlation(correlation, message));
  message.head.content_type = TRY(read_text(in, kContentTypeBytesMax));
  return {};
}

Result<> read_application_properties(const Value& map, StreamHead& head) {
  if (map.kind != ValueKind::map) return Error::protocol("application-properties are no map");
  if (map.count > kApplicationPropertiesMax) {
    return Error::protocol("too many application-properties");
  }
  Reader in(map.bytes);
  for (uint32_t i = 0; i < map.count; i += 2) {
    const Value key = TRY(read_value(in));
    const Value value = TRY(read_value(in));
    if (!key.is_text()) return Error::protocol("name of an application-property is no string");
    if (key.text() == kMappingProperty) {
      if (value.number != kMappingVersion) return Error::refused("unknown mapping version");
    } else if (value.is_text()) {
      head.application_properties.emplace_back(key.text(), value.text());
    }
  }
  return {};
}

Result<> read_fields(const Value& list, Fields& fields) {
  if (list.kind != ValueKind::list || list.count % 2 != 0) {
    return Error::protocol("x-opt-istmo-fields is no list of pairs");
  }
  if (list.count > kFieldsMax) return Error::protocol("too many x-opt-istmo-fields");
  fields.reserve(list.count / 2);
  Reader in(list.bytes);
  for (uint32_t i = 0; i < list.count; i += 2) {
    const Value name = TRY(read_value(in));
    const Value value = TRY(read_value(in));
    if (name.kind != ValueKind::binary || value.kind != ValueKind::binary) {
      return Error::protocol("x-opt-istmo-fields holds something else than binary");
    }
    fields.emplace_back(name.text(), value.text());
  }
  return {};
}

Result<> read_annotations(const Value& map, StreamHead& head) {
  if (map.kind != ValueKind::map) return Error::protocol("message-annotations are no map");
  Reader in(map.bytes);
  for (uint32_t i = 0; i < map.count; i += 2) {
    const Value key = TRY(read_value(in));
    const Value value = TRY(read_value(in));
    if (key.is_text() && key.text() == kFieldsAnnotation) {
      head.fields.clear();
      TRY(read_fields(value, head.fields));
    }
  }
  return {};
}

}  // namespace

void encode_head(const StreamHead& head, const HeadRouting& routing, AmqpWriter& out) {
  if (!head.fields.empty()) {
    out.descriptor(kMessageAnnotations);
    const auto map = out.begin_compound();
    out.symbol(kFieldsAnnotation);
    const auto list = out.begin_compound();
    for (const auto& [name, value] : head.fields) {
      out.binary(bytes_of(name));
      out.binary(bytes_of(value));
    }
    out.end_list(list, static_cast<uint32_t>(head.fields.size() * 2));
    out.end_map(map, 2);
  }
  out.descriptor(kProperties);
  {
    FieldWriter fields(out);
    fields.null();  // message-id
    fields.null();  // user-id
    fields.field().string(routing.to);
    fields.null();  // subject
    if (routing.reply_to.empty()) fields.null();
    else fields.field().string(routing.reply_to);
    if (!routing.correlation_encoded.empty()) fields.field().raw(routing.correlation_encoded);
    else if (!head.correlation_id.empty()) fields.field().string(head.correlation_id);
    else fields.null();
    fields.field().symbol(head.content_type.empty() ? kDefaultContentType : head.content_type);
  }
  out.descriptor(kApplicationProperties);
  const auto map = out.begin_compound();
  out.string(kMappingProperty);
  out.u32(kMappingVersion);
  for (const auto& [name, value] : head.application_properties) {
    out.string(name);
    out.string(value);
  }
  out.end_map(map, static_cast<uint32_t>(2 + head.application_properties.size() * 2));
}

void encode_data_section(uint32_t size, AmqpWriter& out) {
  constexpr std::array<uint8_t, 3> kDescriptor{0x00, 0x53, kData};
  out.raw(kDescriptor);
  std::array<uint8_t, 5> length{0xb0};
  if (size < 256) {
    length = {0xa0, static_cast<uint8_t>(size)};
    return out.raw(Bytes(length).first(2));
  }
  store_big_endian(length.data() + 1, size);
  out.raw(length);
}

void MessageReader::begin() {
  clear();
  head_ = std::make_unique<MessageHead>();
  data_left_ = 0;
  head_bytes_ = 0;
  last_section_ = 0;
  state_ = State::reading;
  head_was_given_ = false;
}

void MessageReader::clear() {
  pending_.clear();
  kept_bytes_ = 0;
  head_.reset();
}

uint64_t MessageReader::held_bytes() const {
  if (!head_ && pending_.empty()) return 0;
  uint64_t held =
      kHeldHeadBytes + pending_.size() + uint64_t{pending_.slice_count()} * kHeldPieceBytes;
  if (head_) {
    const StreamHead& head = head_->head;
    held += head_bytes_;
    held += (head.fields.size() + head.application_properties.size()) * kHeldPairBytes;
  }
  return held;
}

// What waits for the rest of its section may wait long: it pins no receive blocks.
void MessageReader::keep_pending() {
  if (kept_bytes_ == pending_.size()) return;
  io::Chain rest = std::move(pending_);
  pending_ = rest.take_front(kept_bytes_);
  io::Slice copy = io::Slice::allocate(static_cast<uint32_t>(rest.size()));
  rest.copy_out(0, {copy.mutable_data(), copy.size()});
  pending_.append(std::move(copy));
  kept_bytes_ = pending_.size();
  if (pending_.slice_count() <= kHeldPiecesMax) return;
  static_cast<void>(pending_.make_contiguous(static_cast<uint32_t>(kept_bytes_)));
}

Result<MessageReader::Part> MessageReader::next(io::Chain& data) {
  while (true) {
    if (data_left_ > 0 && !pending_.empty()) {
      kept_bytes_ = 0;
      data = pending_.take_front(std::min(data_left_, pending_.size()));
      data_left_ -= data.size();
      return Part::data;
    }
    const Section section = data_left_ == 0 ? TRY(peek_section()) : Section{};
    if (!head_was_given_ && head_is_due(section.code)) {
      head_was_given_ = true;
      return Part::head;
    }
    if (section.code == 0) {
      if (state_ == State::finished && (data_left_ > 0 || !pending_.empty())) {
        return Error::protocol("AMQP message ends inside a section");
      }
      keep_pending();
      return Part::nothing;
    }
    if (section.code < last_section_ || (section.code == last_section_ && section.code != kData)) {
      return Error::protocol("AMQP sections out of order");
    }
    if (section.code == kSequence || section.code == kValue) {
      return Error::refused("body is no data section");
    }
    if (section.code == kData) {
      last_section_ = kData;
      data_left_ = section.value_bytes;
      kept_bytes_ = 0;
      pending_.drop_front(section.header_bytes);
      continue;
    }
    const uint64_t whole = section.header_bytes + section.value_bytes;
    if (head_bytes_ + whole > kHeadBytesMax) return Error::protocol("AMQP message head too long");
    if (pending_.size() < whole) {
      if (state_ == State::finished) return Error::protocol("AMQP message ends inside a section");
      keep_pending();
      return Part::nothing;
    }
    last_section_ = static_cast<uint8_t>(section.code);
    head_bytes_ += static_cast<uint32_t>(whole);
    TRY(read_head_section(section));
    kept_bytes_ = 0;
    pending_.drop_front(whole);
  }
}

bool MessageReader::head_is_due(uint64_t next_section) const {
  return last_section_ == kApplicationProperties || next_section >= kData ||
         (next_section == 0 && state_ == State::finished && pending_.empty());
}

Result<MessageReader::Section> MessageReader::peek_section() const {
  std::array<uint8_t, kPeekBytes> first;
  const size_t count = pending_.copy_out(0, first);
  if (count == 0) return Section{};
  if (first[0] != 0) return Error::protocol("AMQP section does not begin with a descriptor");
  if (count >= 8 && first[1] == 0x53 && first[2] == kData) {  // what nearly every frame has
    if (first[3] == 0xa0) return Section{kData, first[4], 5};
    if (first[3] == 0xb0) return Section{kData, load_big_endian<uint32_t>(&first[4]), 8};
  }
  // Fewer octets than the peek holds: what fails may only be incomplete.
  const auto incomplete = [&]() -> Result<Section> {
    if (count == kPeekBytes) return Error::protocol("AMQP section does not begin well");
    return Section{};
  };
  // The descriptor is read together with an empty list in the place of the value.
  Reader in(Bytes(first).first(count));
  static_cast<void>(in.u8());
  const auto descriptor = read_value(in);
  if (!descriptor) return incomplete();
  const auto code = in.u8();
  if (!code) return incomplete();
  std::array<uint8_t, kPeekBytes + 1> described;
  const size_t described_bytes = count - in.left() - 1;
  std::copy_n(first.begin(), described_bytes, described.begin());
  described[described_bytes] = 0x45;
  Reader again(Bytes(described).first(described_bytes + 1));
  Section section{.code = TRY(read_described(again)).code};
  if (section.code < kHeader || section.code > kFooter) {
    return Error::protocol("unknown AMQP section");
  }
  const bool is_data = section.code == kData;
  if (section.code == kValue || section.code == kSequence) return section;
  if (!is_data && *code == 0x45) {
    section.header_bytes = described_bytes + 1;
    return section;
  }
  const bool is_short = is_data ? *code == 0xa0 : *code == 0xc0 || *code == 0xc1;
  const bool is_long = is_data ? *code == 0xb0 : *code == 0xd0 || *code == 0xd1;
  if (!is_short && !is_long) return Error::protocol("AMQP section of another type");
  if (in.left() < (is_short ? 1u : 4u)) return incomplete();
  section.value_bytes = is_short ? *in.u8() : *in.u32();
  section.header_bytes = count - in.left();
  return section;
}

Result<> MessageReader::read_head_section(const Section& section) {
  const auto whole = static_cast<uint32_t>(section.header_bytes + section.value_bytes);
  Reader in(pending_.make_contiguous(whole));
  // Checked deeply once, so that readers of parts need not.
  const Value checked = TRY(read_value_deeply(in));
  const Value value = TRY(read_described(checked)).value;
  switch (section.code) {
    case kMessageAnnotations: return read_annotations(value, head_->head);
    case kProperties: return read_properties(value, *head_);
    case kApplicationProperties: return read_application_properties(value, head_->head);
    default: return {};  // header, delivery-annotations, footer: nothing for us
  }
}

}  // namespace istmo::codec
