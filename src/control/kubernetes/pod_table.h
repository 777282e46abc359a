// The pods of a namespace, and which of them a selector selects.
//
// A value: fed by a watch, control thread only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/kubernetes/label_selector.h"
#include "control/observed.h"
#include "control/value.h"

namespace istmo::control {

enum class NotReadyPods : uint8_t { left_out, included };

class PodTable {
 public:
  // Of names and labels: some hundred thousand pods, or a few whose labels are hostile.
  static constexpr size_t kBytesMax = 64 * 1024 * 1024;

  // True, of both: what select() gives may be another than before. A pod for which there is no room
  // is none.
  bool put(const Value& pod);
  bool remove(const std::string& name);

  // Those that have an address, are not going away, and are ready (or need not be); by name.
  // What is too much, for people; empty: nothing is.
  std::string shortfall() const;

  std::vector<PodSelection::Pod> select(const LabelSelector& selector,
                                        NotReadyPods not_ready) const;

 private:
  struct Known {
    std::string ip;  // empty: it has none, has ended, or is going away
    bool is_ready = false;
    Labels labels;
    friend bool operator==(const Known&, const Known&) = default;
  };
  using Names = std::set<std::string_view>;  // keys of pods_
  static Known read(const Value& pod);
  void set_indexed(const std::string& name, const Labels& labels, bool is_indexed);
  Names candidates(const LabelSelector& selector) const;

  static size_t bytes_of(const std::string& name, const Known& pod);

  std::map<std::string, Known> pods_;
  size_t bytes_ = 0;                       // of all of them
  std::set<std::string> left_;             // without room, as far as they are counted
  std::map<std::string, Names> by_label_;  // "app=backend": a namespace may have thousands
};

}  // namespace istmo::control
