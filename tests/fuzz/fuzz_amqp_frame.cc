// Any octets as a frame and as a message: no crash, and what was decoded is encoded and decoded
// alike.
#include <vector>

#include "dataplane/codec/amqp_frame.h"
#include "dataplane/codec/amqp_message.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

template <class Performative>
void there_and_back(const PerformativeHead& head) {
  if (head.code != Performative::kCode) return;
  Performative first;
  if (!decode(head.fields, first)) return;
  std::vector<uint8_t> once;
  encode_frame(first, once);
  const auto again = read_performative_head(Bytes(once).subspan(kFrameHeaderBytes));
  ASSERT(again && again->code == head.code);
  Performative second;
  ASSERT(decode(again->fields, second));
  std::vector<uint8_t> twice;
  encode_frame(second, twice);
  ASSERT(once == twice);
}

void read_message(Bytes bytes, size_t piece_bytes) {
  MessageReader reader;
  reader.begin();
  uint64_t body_bytes = 0;
  for (size_t at = 0; at <= bytes.size(); at += piece_bytes) {
    const Bytes piece = bytes.subspan(at, std::min(piece_bytes, bytes.size() - at));
    reader.feed(io::Chain(io::Slice::copy_of(piece)));
    if (at + piece_bytes > bytes.size()) reader.finish();
    while (true) {
      io::Chain data;
      const auto part = reader.next(data);
      if (!part) return;
      if (*part == MessageReader::Part::nothing) break;
      if (*part == MessageReader::Part::head) ASSERT(reader.take_head());
      body_bytes += data.size();
    }
  }
  ASSERT(body_bytes <= bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes(data, size);
  read_message(bytes, size + 1);
  read_message(bytes, 1 + size / 3);
  const auto header = read_frame_header(bytes);
  if (!header || header->size > size) return 0;
  const Bytes body = bytes.first(header->size).subspan(header->body_offset());
  const auto head = read_performative_head(body);
  if (!head) return 0;
  const size_t told = performative_bytes(body);
  ASSERT(told == head->size);
  there_and_back<Open>(*head);
  there_and_back<Begin>(*head);
  there_and_back<Attach>(*head);
  there_and_back<Flow>(*head);
  there_and_back<Transfer>(*head);
  there_and_back<Disposition>(*head);
  there_and_back<Detach>(*head);
  there_and_back<End>(*head);
  there_and_back<Close>(*head);
  there_and_back<SaslMechanisms>(*head);
  there_and_back<SaslInit>(*head);
  there_and_back<SaslOutcome>(*head);
  read_message(body.subspan(head->size), 1 + size / 2);
  return 0;
}
