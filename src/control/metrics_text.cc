#include "control/metrics_text.h"

#include <fmt/format.h>

namespace istmo::control {

namespace {

void append_label_value(std::string& text, std::string_view value) {
  for (const char c : value) {
    switch (c) {
      case '\\': text += "\\\\"; break;
      case '"': text += "\\\""; break;
      case '\n': text += "\\n"; break;
      default: text += c;
    }
  }
}

}  // namespace

void MetricsText::family(std::string_view name, MetricType type, std::string_view help) {
  name_ = name;
  text_.append("# HELP ").append(name).append(" ").append(help);
  text_.append("\n# TYPE ").append(name);
  text_ += type == MetricType::counter ? " counter\n" : " gauge\n";
}

void MetricsText::begin_sample(Labels labels) {
  text_ += name_;
  char before = '{';
  for (const auto& [label, value] : labels) {
    text_ += before;
    text_.append(label).append("=\"");
    append_label_value(text_, value);
    text_ += '"';
    before = ',';
  }
  text_ += labels.size() == 0 ? " " : "} ";
}

void MetricsText::sample(Labels labels, uint64_t value) {
  begin_sample(labels);
  text_.append(std::to_string(value)).append("\n");
}

void MetricsText::sample(Labels labels, double value) {
  begin_sample(labels);
  text_.append(fmt::format("{}", value)).append("\n");
}

void MetricsText::single(std::string_view name, MetricType type, std::string_view help,
                         uint64_t value) {
  family(name, type, help);
  sample({}, value);
}

void MetricsText::single(std::string_view name, MetricType type, std::string_view help,
                         double value) {
  family(name, type, help);
  sample({}, value);
}

}  // namespace istmo::control
