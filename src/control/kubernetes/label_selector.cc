#include "control/kubernetes/label_selector.h"

#include <algorithm>

namespace istmo::control {
namespace {

constexpr std::string_view kBlanks = " \t";
constexpr size_t kKeyCharactersMax = 317;  // 253 of a prefix, '/', 63 of a name
constexpr size_t kValueCharactersMax = 63;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool is_word(std::string_view text, size_t characters_max) {
  return text.size() <= characters_max && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  std::string_view("-_./").contains(c);
         });
}

Result<std::string> key_from(std::string_view text) {
  const std::string_view key = trimmed(text);
  if (!key.empty() && is_word(key, kKeyCharactersMax)) return std::string(key);
  return Error::config("'" + std::string(key) + "' is no label");
}

Result<std::string> value_from(std::string_view text) {
  const std::string_view value = trimmed(text);
  if (is_word(value, kValueCharactersMax) && !value.contains('/')) return std::string(value);
  return Error::config("'" + std::string(value) + "' is no value of a label");
}

// At commas that stand in no parentheses.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i < text.size() && (text[i] != ',' || depth > 0)) continue;
    parts.push_back(text.substr(start, i - start));
    start = i + 1;
  }
  return parts;
}

Result<std::set<std::string>> values_from(std::string_view text) {
  text = trimmed(text);
  if (!text.starts_with('(') || !text.ends_with(')')) {
    return Error::config("in and notin want their values in parentheses");
  }
  std::set<std::string> values;
  for (const std::string_view part : split(text.substr(1, text.size() - 2))) {
    values.insert(TRY(value_from(part)));
  }
  return values;
}

}  // namespace

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  for (const std::string_view part : split(text)) {
    auto requirement = parse_requirement(trimmed(part));
    if (!requirement)
      return std::move(requirement).error().at("selector '" + std::string(text) + "'");
    selector.requirements_.push_back(std::move(*requirement));
  }
  return selector;
}

Result<LabelSelector::Requirement> LabelSelector::parse_requirement(std::string_view text) {
  if (text.empty()) return Error::config("there is nothing between two commas");
  const auto one = [&](size_t at, size_t size, Operator op) -> Result<Requirement> {
    return Requirement{
        TRY(key_from(text.substr(0, at))), op, {TRY(value_from(text.substr(at + size)))}};
  };
  if (const size_t at = text.find("!="); at != text.npos) return one(at, 2, Operator::not_in);
  if (const size_t at = text.find("=="); at != text.npos) return one(at, 2, Operator::in);
  if (const size_t at = text.find('='); at != text.npos) return one(at, 1, Operator::in);
  if (text.starts_with('!')) {
    return Requirement{TRY(key_from(text.substr(1))), Operator::does_not_exist, {}};
  }
  const size_t blank = text.find_first_of(kBlanks);
  if (blank == text.npos) return Requirement{TRY(key_from(text)), Operator::exists, {}};
  const std::string_view rest = trimmed(text.substr(blank));
  const bool is_not = rest.starts_with("notin");
  if (!is_not && !rest.starts_with("in")) {
    return Error::config("'" + std::string(rest) + "' is not understood");
  }
  return Requirement{TRY(key_from(text.substr(0, blank))), is_not ? Operator::not_in : Operator::in,
                     TRY(values_from(rest.substr(is_not ? 5 : 2)))};
}

std::vector<std::string> LabelSelector::labels_wanted() const {
  const auto equal = std::ranges::find(requirements_, Operator::in, &Requirement::op);
  std::vector<std::string> labels;
  if (equal == requirements_.end()) return labels;
  for (const std::string& value : equal->values) labels.push_back(equal->key + "=" + value);
  return labels;
}

bool LabelSelector::selects(const Labels& labels) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& requirement) {
    const auto label = labels.find(requirement.key);
    const bool is_there = label != labels.end();
    switch (requirement.op) {
      case Operator::in: return is_there && requirement.values.contains(label->second);
      case Operator::not_in: return !is_there || !requirement.values.contains(label->second);
      case Operator::exists: return is_there;
      case Operator::does_not_exist: return !is_there;
    }
    return false;
  });
}

std::string selector_text(const Value& label_selector) {
  std::string text;
  const auto add = [&](const std::string& term) { text += (text.empty() ? "" : ",") + term; };
  for (const Value::Entry& label : value_at(label_selector, {"matchLabels"}).entries()) {
    add(label.key + "=" + label.value.text());
  }
  for (const Value& term : value_at(label_selector, {"matchExpressions"}).items()) {
    const std::string& key = text_at(term, "key");
    const std::string& verb = text_at(term, "operator");
    std::string values;
    for (const Value& value : value_at(term, {"values"}).items()) {
      values += (values.empty() ? "" : ",") + value.text();
    }
    if (verb == "In") add(key + " in (" + values + ")");
    else if (verb == "NotIn") add(key + " notin (" + values + ")");
    else if (verb == "Exists") add(key);
    else if (verb == "DoesNotExist") add("!" + key);
  }
  return text;
}

}  // namespace istmo::control
