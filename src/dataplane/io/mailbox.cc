#include "dataplane/io/mailbox.h"

namespace istmo::io {

Mailbox::Mailbox() : newest_(&stub_), oldest_(&stub_) {}

Mailbox::~Mailbox() {
  while (Letter* letter = pop()) delete letter;
}

void Mailbox::post(std::unique_ptr<Letter> letter) {
  Letter* added = letter.release();
  added->next_.store(nullptr, std::memory_order_relaxed);
  // seq_cst: pairs with the consumer's "parked" flag, so that a post is seen or wakes.
  Letter* previous = newest_.exchange(added, std::memory_order_seq_cst);
  previous->next_.store(added, std::memory_order_release);
}

size_t Mailbox::deliver(size_t letters_max) {
  size_t delivered = 0;
  while (delivered < letters_max) {
    std::unique_ptr<Letter> letter(pop());
    if (!letter) break;
    letter->deliver();
    ++delivered;
  }
  return delivered;
}

bool Mailbox::is_empty() const {
  return oldest_ == &stub_ && newest_.load(std::memory_order_seq_cst) == &stub_;
}

Letter* Mailbox::pop() {
  Letter* oldest = oldest_;
  Letter* next = oldest->next_.load(std::memory_order_acquire);
  if (oldest == &stub_) {
    if (!next) return nullptr;
    oldest_ = next;
    oldest = next;
    next = next->next_.load(std::memory_order_acquire);
  }
  if (next) {
    oldest_ = next;
    return oldest;
  }
  if (oldest != newest_.load(std::memory_order_acquire)) return nullptr;  // a post is under way
  stub_.next_.store(nullptr, std::memory_order_relaxed);
  Letter* previous = newest_.exchange(&stub_, std::memory_order_acq_rel);
  previous->next_.store(&stub_, std::memory_order_release);
  next = oldest->next_.load(std::memory_order_acquire);
  if (!next) return nullptr;
  oldest_ = next;
  return oldest;
}

}  // namespace istmo::io
