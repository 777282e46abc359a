// AMQP 1.0 message sections (part 3, 3.2) as a stream uses them: the head (properties,
// application-properties, our message annotation), then `data` sections, then maybe a footer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/codec/amqp_types.h"
#include "dataplane/io/buffer.h"

namespace istmo::codec {

constexpr uint32_t kHeadBytesMax = 128 * 1024;  // sections before the body, together
constexpr uint32_t kAddressBytesMax = 512;
constexpr uint64_t kMappingVersion = 1;  // application property `V`

using Fields = std::vector<std::pair<std::string, std::string>>;

// The sections before the body: properties, application-properties and our annotation.
struct StreamHead {
  std::string to;                 // opener: the routing key; answer: the reply-to of the request
  std::string correlation_id;     // opener chooses; the answer repeats it
  std::string content_type;       // empty when written: application/octet-stream
  Fields application_properties;  // string values; `V` (mapping version, 1) is added and read here
  Fields fields;                  // x-opt-istmo-fields: binary names and values, in order
};

// A head with what a LinkMux needs besides.
struct MessageHead {
  StreamHead head;
  std::string reply_to;
  std::string correlation_encoded;  // as an AMQP value; it may be no string
};

// What an encoded head takes from elsewhere.
struct HeadRouting {
  std::string_view to;
  std::string_view reply_to;  // empty: none
  Bytes correlation_encoded;  // empty: head.correlation_id as a string
};
void encode_head(const StreamHead& head, const HeadRouting& routing, AmqpWriter& out);
// What goes before `size` octets to make them a `data` section: at most 8 octets.
void encode_data_section(uint32_t size, AmqpWriter& out);

// Takes a message apart as its transfers come in. Owned by the link end that receives it; one
// reader serves many messages, one after the other.
//
//   reader.begin();
//   reader.feed(payload);                        // for each transfer; finish() after the last
//   while (part = reader.next(data)) ...         // until nothing or an error
//
// An error of class protocol: the message is malformed; of class refused: it is well formed, but
// its kind of body, format or mapping version is not supported.
class MessageReader {
 public:
  enum class Part : uint8_t { nothing, head, data };

  void begin();
  void feed(io::Chain&& payload) { pending_.append(std::move(payload)); }
  void finish() { state_ = State::finished; }
  // head: complete, in take_head(), once and before any data. data: further octets of the body.
  Result<Part> next(io::Chain& data);
  std::unique_ptr<MessageHead> take_head() { return std::move(head_); }
  // What a head (or a footer) that is not complete costs in memory; 0 when nothing waits.
  uint64_t held_bytes() const;
  void clear();

 private:
  enum class State : uint8_t { reading, finished };
  struct Section {
    uint64_t code = 0;
    uint64_t value_bytes = 0;  // content of a data section
    size_t header_bytes = 0;   // up to the content
  };
  Result<Section> peek_section() const;  // code 0: not enough octets yet
  Result<> read_head_section(const Section& section);
  bool head_is_due(uint64_t next_section) const;
  void keep_pending();

  io::Chain pending_;
  uint64_t kept_bytes_ = 0;  // of pending_, from its front: in memory of our own
  std::unique_ptr<MessageHead> head_;
  uint64_t data_left_ = 0;  // of the data section that is being read
  uint32_t head_bytes_ = 0;
  uint8_t last_section_ = 0;
  State state_ = State::reading;
  bool head_was_given_ = false;
};

}  // namespace istmo::codec
