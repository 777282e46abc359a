#include "dataplane/codec/record_cipher.h"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "base/rng.h"

using namespace istmo;
using codec::RecordCipher;
using Direction = RecordCipher::Direction;
using Library = RecordCipher::Library;
using Octets = std::vector<uint8_t>;
namespace data = boost::unit_test::data;

namespace {

const auto kLibraries = data::make({0, 1});  // boost cannot print an enum class

Octets from_hex(const std::string& digits) {
  Octets octets;
  for (size_t i = 0; i < digits.size(); i += 2) {
    octets.push_back(static_cast<uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return octets;
}

// The published test cases 4 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation".
struct Published {
  Octets key, sealed, tag;
};
const RecordCipher::Nonce kNonce = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce,
                                    0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
const Octets kAssociated = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
const Octets kPlaintext = from_hex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
const Published kAes128 = {
    from_hex("feffe9928665731c6d6a8f9467308308"),
    from_hex("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
             "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"),
    from_hex("5bc94fbc3221a5db94fae95ae7121a47")};
const Published kAes256 = {
    from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
    from_hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
             "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"),
    from_hex("76fc6ece0f4e1768cddf8853bb2d551b")};

// In place, in two pieces.
RecordCipher::Tag seal(RecordCipher& cipher, Octets& octets, size_t cut) {
  cipher.begin(kNonce, kAssociated);
  cipher.update(octets.data(), octets.data(), static_cast<uint32_t>(cut));
  cipher.update(octets.data() + cut, octets.data() + cut,
                static_cast<uint32_t>(octets.size() - cut));
  return cipher.finish_seal();
}

bool open(RecordCipher& cipher, Octets& octets, const RecordCipher::Tag& tag) {
  cipher.begin(kNonce, kAssociated);
  cipher.update(octets.data(), octets.data(), static_cast<uint32_t>(octets.size()));
  return cipher.finish_open(tag);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(record_cipher)

BOOST_DATA_TEST_CASE(published_octets_come_out_at_every_cut, kLibraries, library) {
  for (const Published& published : {kAes128, kAes256}) {
    const auto sealer =
        RecordCipher::create(published.key, Direction::seal, static_cast<Library>(library));
    const auto opener =
        RecordCipher::create(published.key, Direction::open, static_cast<Library>(library));
    for (size_t cut = 0; cut <= kPlaintext.size(); ++cut) {
      Octets octets = kPlaintext;
      const RecordCipher::Tag tag = seal(*sealer, octets, cut);
      BOOST_TEST(octets == published.sealed, boost::test_tools::per_element());
      BOOST_TEST(tag == published.tag, boost::test_tools::per_element());
      BOOST_TEST(open(*opener, octets, tag));
      BOOST_TEST(octets == kPlaintext, boost::test_tools::per_element());
    }
  }
}

BOOST_DATA_TEST_CASE(one_changed_bit_is_noticed, kLibraries, library) {
  const auto opener =
      RecordCipher::create(kAes128.key, Direction::open, static_cast<Library>(library));
  RecordCipher::Tag right;
  std::copy(kAes128.tag.begin(), kAes128.tag.end(), right.begin());
  for (size_t i = 0; i < kAes128.sealed.size(); ++i) {
    Octets octets = kAes128.sealed;
    octets[i] ^= 0x10;
    BOOST_TEST(!open(*opener, octets, right));
  }
  for (size_t i = 0; i < right.size(); ++i) {
    Octets octets = kAes128.sealed;
    RecordCipher::Tag wrong = right;
    wrong[i] ^= 0x01;
    BOOST_TEST(!open(*opener, octets, wrong));
  }
  Octets octets = kAes128.sealed;
  BOOST_TEST(open(*opener, octets, right));  // and it works again
}

BOOST_AUTO_TEST_CASE(both_libraries_agree_on_long_records_in_pieces) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    Octets key(round % 2 == 0 ? 16 : 32), octets(rng.between(0, 17'000));
    for (uint8_t& octet : key) octet = static_cast<uint8_t>(rng.next());
    for (uint8_t& octet : octets) octet = static_cast<uint8_t>(rng.next());
    const Octets plaintext = octets;
    const auto sealer = RecordCipher::create(key, Direction::seal, Library::openssl);
    const RecordCipher::Tag tag = seal(*sealer, octets, rng.between(0, octets.size()));
    Octets again = plaintext;
    const auto other = RecordCipher::create(key, Direction::seal);
    BOOST_TEST((seal(*other, again, rng.between(0, again.size())) == tag));
    BOOST_TEST((again == octets));
    BOOST_TEST(open(*RecordCipher::create(key, Direction::open), again, tag));
    BOOST_TEST((again == plaintext));
  }
}

BOOST_AUTO_TEST_SUITE_END()
