// Any octets as AMQP values: no crash, and what was read is written and read alike.
#include <vector>

#include "base/assert.h"
#include "dataplane/codec/amqp_types.h"

using namespace istmo;
using namespace istmo::codec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Reader in(Bytes(data, size));
  while (!in.empty()) {
    const auto value = read_value_deeply(in);
    if (!value) break;
    std::vector<uint8_t> written;
    AmqpWriter(written).value(*value);
    Reader again(written);
    const auto same = read_value_deeply(again);
    ASSERT(same && again.empty());
    ASSERT(same->kind == value->kind && same->number == value->number);
    ASSERT(same->count == value->count && text_of(same->bytes) == text_of(value->bytes));
    if (value->kind == ValueKind::described) static_cast<void>(read_described(*value));
  }
  return 0;
}
