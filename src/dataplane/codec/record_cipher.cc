#include "dataplane/codec/record_cipher.h"

#if ISTMO_HAS_IPSEC_MB
#define NO_COMPAT_IMB_API_053  // old names of its, which clash with OpenSSL's
#include <intel-ipsec-mb.h>
#endif

#include "base/assert.h"
#include "base/code_pages.h"
#include "dataplane/codec/openssl.h"

namespace istmo::codec {
namespace {

class OpensslCipher final : public RecordCipher {
 public:
  OpensslCipher(Bytes key, Direction direction) : context_(EVP_CIPHER_CTX_new()) {
    ASSERT(context_ != nullptr);  // out of memory
    const EVP_CIPHER* cipher = key.size() == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
    const int is_sealing = direction == Direction::seal ? 1 : 0;
    ASSERT(EVP_CipherInit_ex(context_.get(), cipher, nullptr, key.data(), nullptr, is_sealing) ==
           1);
  }

  void begin(const Nonce& nonce, Bytes associated) override {
    ASSERT(EVP_CipherInit_ex(context_.get(), nullptr, nullptr, nullptr, nonce.data(), -1) == 1);
    update_with(associated.data(), nullptr, static_cast<uint32_t>(associated.size()));
  }

  void update(const uint8_t* from, uint8_t* to, uint32_t size) override {
    update_with(from, to, size);
  }

  Tag finish_seal() override {
    Tag tag;
    int size = 0;
    ASSERT(EVP_CipherFinal_ex(context_.get(), tag.data(), &size) == 1);
    ASSERT(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) == 1);
    return tag;
  }

  bool finish_open(const Tag& tag) override {
    Tag expected = tag;  // OpenSSL's argument is not const
    ASSERT(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, expected.data()) ==
           1);
    int size = 0;
    uint8_t none[kTagBytes];
    return EVP_CipherFinal_ex(context_.get(), none, &size) == 1;
  }

 private:
  void update_with(const uint8_t* from, uint8_t* to, uint32_t size) {
    int done = 0;
    const int result = EVP_CipherUpdate(context_.get(), to, &done, from, static_cast<int>(size));
    ASSERT(result == 1 && static_cast<uint32_t>(done) == size);
  }

  CipherContextPointer context_;
};

#if ISTMO_HAS_IPSEC_MB

// The table of functions for this processor; filled in once, then only read. Nothing without AES
// instructions: the library would work around them, slowly.
const IMB_MGR* ipsec_mb() {
  static const IMB_MGR* const kManager = []() -> const IMB_MGR* {
    IMB_MGR* made = alloc_mb_mgr(0);
    if (made == nullptr) return nullptr;
    init_mb_mgr_auto(made, nullptr);
    // It has tested itself, all 3 MiB of it.
    release_code_pages(reinterpret_cast<const void*>(made->gcm128_init));
    if ((made->features & IMB_FEATURE_AESNI) != 0) return made;
    free_mb_mgr(made);
    return nullptr;
  }();
  return kManager;
}

class IpsecMbCipher final : public RecordCipher {
 public:
  IpsecMbCipher(const IMB_MGR& manager, Bytes key, Direction direction) {
    const bool is_128 = key.size() == 16, is_sealing = direction == Direction::seal;
    begin_ = is_128 ? manager.gcm128_init : manager.gcm256_init;
    if (is_sealing) update_ = is_128 ? manager.gcm128_enc_update : manager.gcm256_enc_update;
    else update_ = is_128 ? manager.gcm128_dec_update : manager.gcm256_dec_update;
    finish_ = is_128 ? manager.gcm128_enc_finalize : manager.gcm256_enc_finalize;
    (is_128 ? manager.gcm128_pre : manager.gcm256_pre)(key.data(), &key_);
  }
  ~IpsecMbCipher() override {
    OPENSSL_cleanse(&key_, sizeof key_);
    OPENSSL_cleanse(&state_, sizeof state_);  // holds a block of key stream
  }

  void begin(const Nonce& nonce, Bytes associated) override {
    begin_(&key_, &state_, nonce.data(), associated.data(), associated.size());
  }
  void update(const uint8_t* from, uint8_t* to, uint32_t size) override {
    update_(&key_, &state_, to, from, size);
  }
  Tag finish_seal() override {
    Tag tag;
    finish_(&key_, &state_, tag.data(), tag.size());  // the same for both directions
    return tag;
  }
  bool finish_open(const Tag& tag) override {
    return CRYPTO_memcmp(finish_seal().data(), tag.data(), tag.size()) == 0;
  }

 private:
  aes_gcm_init_t begin_ = nullptr;
  aes_gcm_enc_dec_update_t update_ = nullptr;
  aes_gcm_enc_dec_finalize_t finish_ = nullptr;
  alignas(64) gcm_key_data key_;
  alignas(64) gcm_context_data state_;
};

#endif

}  // namespace

std::unique_ptr<RecordCipher> RecordCipher::create(Bytes key, Direction direction,
                                                   Library library) {
  ASSERT(key.size() == 16 || key.size() == 32);
#if ISTMO_HAS_IPSEC_MB
  if (library == Library::fastest && ipsec_mb() != nullptr) {
    return std::make_unique<IpsecMbCipher>(*ipsec_mb(), key, direction);
  }
#else
  static_cast<void>(library);
#endif
  return std::make_unique<OpensslCipher>(key, direction);
}

}  // namespace istmo::codec
