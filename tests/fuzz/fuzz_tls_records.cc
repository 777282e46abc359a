// Records of TLS 1.3 from somebody who has the keys and may write anything with them, and from
// somebody who has not.
//
// The input: an octet of options (role, hash, key length), then steps: an octet that chooses, two
// octets of length, one that says where in it the wire is cut, and content of that length. A step
// is put on the wire as it is, or sealed into a record. Checked: no crash, the same outcome for
// every split, nothing comes out that was not sealed as data, nothing that was read is missing, and
// the answer is one that the other side can read.
#include <algorithm>
#include <string>
#include <vector>

#include "base/assert.h"
#include "dataplane/codec/tls_record_format.h"
#include "dataplane/codec/tls_records.h"

using namespace istmo;
using namespace istmo::codec;

namespace {

// What the octet that chooses means.
constexpr uint8_t kIsRaw = 0x01;    // on the wire as it is
constexpr uint8_t kIsInner = 0x02;  // type and padding are in the content, as far as there are any
constexpr uint8_t kIsStretched = 0x04;  // the content is one octet, repeated
constexpr uint8_t kIsPadded = 0x08;
constexpr uint8_t kIsKeyChange = 0x10;  // the next record is under the next key
constexpr uint8_t kTypeShift = 5;       // of the content: data, alert, handshake or 99
constexpr uint8_t kTypes[] = {kApplicationData, kAlert, kHandshake, 99,
                              kApplicationData, 0,      20,         24};
constexpr size_t kStepBytes = 4;
constexpr size_t kInnerBytesMax = UINT16_MAX - RecordCipher::kTagBytes;
constexpr size_t kPaddingBytes = 300;
constexpr uint32_t kRecordsPerKey = 20;  // few, so that short inputs come to the end of a key
constexpr size_t kKeyUpdateRecordBytes = kRecordOverheadBytes + 5;

TlsSecret secret_of(uint8_t options, uint8_t first) {
  TlsSecret made;
  made.hash = options & 2 ? TlsHash::sha384 : TlsHash::sha256;
  made.key_bytes = options & 4 ? 32 : 16;
  for (uint32_t i = 0; i < made.size(); ++i) made.octets[i] = static_cast<uint8_t>(first + i);
  return made;
}

// What goes over the wire, where it is cut, and the data in it.
class Wire {
 public:
  Wire(uint8_t options, Bytes steps) : key_(secret_of(options, 1), RecordCipher::Direction::seal) {
    while (steps.size() >= kStepBytes) {
      const uint8_t choice = steps[0], cut = steps[3];
      const size_t wanted = load_big_endian<uint16_t>(steps.data() + 1);
      steps = steps.subspan(kStepBytes);
      const bool is_stretched = (choice & kIsStretched) != 0 && !steps.empty();
      const Bytes taken = steps.first(is_stretched ? 1 : std::min(wanted, steps.size()));
      steps = steps.subspan(taken.size());
      const size_t begin = text_.size();
      add(choice, is_stretched ? std::string(wanted, static_cast<char>(taken[0]))
                               : std::string(text_of(taken)));
      cuts_.push_back(begin + (text_.size() - begin) * cut / 256);
    }
    cuts_.push_back(text_.size());
  }

  const std::string& text() const { return text_; }
  const std::string& sealed_data() const { return sealed_data_; }
  std::vector<std::string> pieces() const {
    std::vector<std::string> pieces;
    size_t at = 0;
    for (const size_t cut : cuts_) {
      pieces.push_back(text_.substr(at, cut - at));
      at = cut;
    }
    return pieces;
  }
  std::vector<std::string> octets() const {
    std::vector<std::string> pieces;
    for (const char octet : text_) pieces.emplace_back(1, octet);
    return pieces;
  }

 private:
  void add(uint8_t choice, std::string content) {
    if (choice & kIsRaw) {
      text_ += content;
      return;
    }
    if (!(choice & kIsInner)) content += static_cast<char>(kTypes[choice >> kTypeShift]);
    if (choice & kIsPadded) content.append(kPaddingBytes, '\0');
    if (content.size() > kInnerBytesMax) content.resize(kInnerBytesMax);
    const size_t type_at = content.find_last_not_of('\0');
    if (type_at != std::string::npos && content[type_at] == kApplicationData) {
      sealed_data_ += content.substr(0, type_at);
    }
    seal(std::move(content));
    if (choice & kIsKeyChange) key_.update();
  }

  void seal(std::string inner) {
    const size_t length = inner.size() + RecordCipher::kTagBytes;
    const std::string header = {kApplicationData, 3, 3, static_cast<char>(length >> 8),
                                static_cast<char>(length)};
    RecordCipher& cipher = key_.next_record(bytes_of(header));
    auto* octets = reinterpret_cast<uint8_t*>(inner.data());
    cipher.update(octets, octets, static_cast<uint32_t>(inner.size()));
    const RecordCipher::Tag tag = cipher.finish_seal();
    text_.append(header).append(inner).append(text_of(tag));
  }

  TlsTrafficKey key_;
  std::string text_;
  std::string sealed_data_;
  std::vector<size_t> cuts_;
};

struct Outcome {
  std::string plaintext;
  std::string error;
  std::string output;
  bool has_ended = false;
  bool is_all_read = false;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome read(uint8_t options, const std::vector<std::string>& pieces) {
  TlsRecords reader(secret_of(options, 101), secret_of(options, 1),
                    {.is_client = (options & 1) != 0, .records_per_key = kRecordsPerKey});
  io::Chain plaintext;
  Outcome outcome;
  for (const std::string& piece : pieces) {
    const Result<> result = reader.decrypt(io::Chain::copy_of(piece), plaintext);
    if (result) continue;
    outcome.error = result.error().text();
    break;
  }
  outcome.plaintext = plaintext.to_string();
  outcome.has_ended = reader.has_ended();
  outcome.is_all_read = outcome.error.empty() && reader.pinned_bytes() == 0;
  if (outcome.error.empty()) {
    io::Chain answer = io::Chain::copy_of("answer");
    reader.encrypt(answer, UINT64_MAX);
  }
  outcome.output = reader.take_output().to_string();
  return outcome;
}

void check_output(uint8_t options, const Outcome& outcome) {
  TlsRecords other(secret_of(options, 1), secret_of(options, 101),
                   {.is_client = (options & 1) == 0, .records_per_key = kRecordsPerKey});
  io::Chain answer;
  const Result<> result = other.decrypt(io::Chain::copy_of(outcome.output), answer);
  ASSERT(other.pinned_bytes() == 0);
  if (outcome.error.empty()) {
    ASSERT(result && answer.to_string() == "answer");
  } else {
    // An alert of ours, or to one of theirs no word but what was said before: give us a new key.
    ASSERT(answer.empty());
    ASSERT(!result || outcome.output.size() % kKeyUpdateRecordBytes == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t options = data[0];
  const Wire wire(options, Bytes(data, size).subspan(1));
  const Outcome outcome = read(options, {wire.text()});
  ASSERT(read(options, wire.pieces()) == outcome);
  constexpr size_t kBytesOneByOne = 300;
  if (wire.text().size() <= kBytesOneByOne) ASSERT(read(options, wire.octets()) == outcome);
  ASSERT(wire.sealed_data().starts_with(outcome.plaintext));
  if (outcome.is_all_read && !outcome.has_ended) ASSERT(outcome.plaintext == wire.sealed_data());
  check_output(options, outcome);
  return 0;
}
