// Intrusive doubly linked list. The element derives from ListNode<Tag>; Tag is the element type
// unless it is in several lists. The list never owns. An element unlinks itself when it is
// destroyed.
#pragma once

#include <cstdint>

#include "base/assert.h"

namespace istmo {

template <class Tag>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { unlink(); }

  bool is_linked() const { return next_ != nullptr; }
  void unlink() {
    if (!next_) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class T, class U>
  friend class List;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
};

// T derives from ListNode<Tag>.
template <class T, class Tag = T>
class List {
 public:
  using Node = ListNode<Tag>;
  List() { head_.next_ = head_.previous_ = &head_; }
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    while (!empty()) pop_front();
    head_.next_ = head_.previous_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  void push_back(T& element) { insert_before(head_, element); }
  void push_front(T& element) { insert_before(*head_.next_, element); }
  T& front() {
    ASSERT(!empty());
    return *static_cast<T*>(head_.next_);
  }
  const T& front() const {
    ASSERT(!empty());
    return *static_cast<const T*>(head_.next_);
  }
  T& pop_front() {
    T& element = front();
    static_cast<Node&>(element).unlink();
    return element;
  }
  // Next element, or nullptr at the end. Lets a caller walk while unlinking.
  T* next_of(T& element) {
    Node* next = static_cast<Node&>(element).next_;
    return next == &head_ ? nullptr : static_cast<T*>(next);
  }
  T* first() { return empty() ? nullptr : &front(); }
  // Walks the whole list.
  uint32_t count() const {
    uint32_t count = 0;
    for (const Node* node = head_.next_; node != &head_; node = node->next_) ++count;
    return count;
  }
  // Moves all elements of `other` to the end of this list.
  void splice_back(List& other) {
    while (!other.empty()) push_back(other.pop_front());
  }

 private:
  void insert_before(Node& place, T& element) {
    Node& node = element;
    ASSERT(!node.is_linked());
    node.next_ = &place;
    node.previous_ = place.previous_;
    place.previous_->next_ = &node;
    place.previous_ = &node;
  }
  Node head_;
};

}  // namespace istmo
