// Metrics as text for Prometheus: exposition format 0.0.4.
//
// A value; any thread. Families are written in the order in which they begin, each with its
// samples.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace istmo::control {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

enum class MetricType : uint8_t { counter, gauge };

class MetricsText {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Samples that follow are of this family.
  void family(std::string_view name, MetricType type, std::string_view help);
  void sample(Labels labels, uint64_t value);
  void sample(Labels labels, double value);
  // A family of one sample.
  void single(std::string_view name, MetricType type, std::string_view help, uint64_t value);
  void single(std::string_view name, MetricType type, std::string_view help, double value);
  const std::string& text() const { return text_; }

 private:
  void begin_sample(Labels labels);

  std::string name_;
  std::string text_;
};

}  // namespace istmo::control
