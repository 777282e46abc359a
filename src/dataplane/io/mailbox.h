// Messages from any thread to one loop's thread: an intrusive multi-producer, single-consumer
// queue (after D. Vyukov). Only for control: no byte of a connection passes here.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

namespace istmo::io {

// Delivered and destroyed on the receiving thread.
class Letter {
 public:
  virtual ~Letter() = default;
  virtual void deliver() = 0;

 private:
  friend class Mailbox;
  std::atomic<Letter*> next_{nullptr};
};

template <class Callable>
class LetterOf final : public Letter {
 public:
  explicit LetterOf(Callable callable) : callable_(std::move(callable)) {}
  void deliver() override { callable_(); }

 private:
  Callable callable_;
};

template <class Callable>
std::unique_ptr<Letter> make_letter(Callable callable) {
  return std::make_unique<LetterOf<Callable>>(std::move(callable));
}

class Mailbox {
 public:
  Mailbox();
  ~Mailbox();  // undelivered letters are destroyed
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Any thread. Wait-free.
  void post(std::unique_ptr<Letter> letter);
  // Consumer only: delivers what is there, at most `letters_max`. Returns how many.
  size_t deliver(size_t letters_max);
  // Consumer only.
  bool is_empty() const;

 private:
  Letter* pop();

  std::atomic<Letter*> newest_;
  Letter* oldest_;
  struct Stub final : Letter {
    void deliver() override {}
  } stub_;
};

}  // namespace istmo::io
