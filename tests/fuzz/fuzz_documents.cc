// Documents come from users and, over tokens, from other sites. Whatever the octets: reading ends,
// stays in its bounds, and what was read as valid is read back the same after it was written.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "control/document_text.h"

namespace {

using namespace istmo::control;

void check_round_trip(const Document& document, Format format, const char* file) {
  const std::string text = write_document(document, format);
  const ParsedDocuments again = parse_documents(text, file);
  // Positions differ and so does what cannot be written as UTF-8; the object must still be there.
  ASSERT(again.documents.size() == 1);
  ASSERT(id_of(again.documents.front()) == id_of(document));
}

bool is_plain(std::string_view text) {
  for (const char c : text) {
    if (static_cast<uint8_t>(c) >= 0x7f) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* file : {"input.yaml", "input.json"}) {
    const ParsedDocuments parsed = parse_documents(text, file);
    for (const Document& document : parsed.documents) {
      if (!is_plain(text)) continue;
      check_round_trip(document, Format::yaml, "again.yaml");
      check_round_trip(document, Format::json, "again.json");
    }
  }
  return 0;
}
