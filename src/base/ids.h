// Strong identifiers: a StreamId is not a SiteIndex, although both are numbers.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace istmo {

template <class Tag, class Number = uint32_t>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(Number number) : number_(number) {}
  constexpr Number number() const { return number_; }
  friend constexpr auto operator<=>(Id, Id) = default;

 private:
  Number number_ = 0;
};

}  // namespace istmo

template <class Tag, class Number>
struct std::hash<istmo::Id<Tag, Number>> {
  size_t operator()(istmo::Id<Tag, Number> id) const { return std::hash<Number>{}(id.number()); }
};
