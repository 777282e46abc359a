#include "control/cli/terminal.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "control/cli/command_line.h"
#include "control/document_text.h"

namespace istmo::control {

namespace {

std::string padded(const std::string& cell, size_t width) {
  return cell + std::string(width > cell.size() ? width - cell.size() : 0, ' ');
}

void draw_branches(const Tree& tree, const std::string& indent, std::string& text) {
  for (size_t index = 0; index < tree.branches.size(); ++index) {
    const Tree& branch = tree.branches[index];
    const bool is_last = index + 1 == tree.branches.size();
    text += indent + (is_last ? "╰─ " : "├─ ") + branch.label + "\n";
    const std::string below = indent + (is_last ? "   " : "│  ");
    for (const std::string& note : branch.notes) {
      text += below + (branch.branches.empty() ? "" : "│ ") + note + "\n";
    }
    draw_branches(branch, below, text);
  }
}

int print_error_number = 0;  // of the first print() that failed

Format format_of(Output output) { return output == Output::yaml ? Format::yaml : Format::json; }

}  // namespace

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], row[column].size());
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t column = 0; column < row.size(); ++column) {
      line += padded(row[column], widths[column] + 2);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string Table::vertical(const std::vector<std::string>& names,
                            const std::vector<std::string>& cells) {
  std::string text;
  for (size_t index = 0; index < names.size() && index < cells.size(); ++index) {
    text += names[index] + "\t: " + cells[index] + "\n";
  }
  return text;
}

std::string draw(const Tree& root) {
  std::string text = root.label + "\n";
  draw_branches(root, "", text);
  return text;
}

const std::vector<Value>& items_at(const Value& value, std::string_view key) {
  static const std::vector<Value> kNothing;
  const Value* found = value.find(key);
  return found == nullptr ? kNothing : found->items();
}

std::string list_text(const std::vector<Value>& documents, Output output) {
  return write_list(documents, format_of(output));
}

std::string document_text(const Value& document, Output output) {
  return write_value(document, format_of(output));
}

void print(std::string_view text) {
  errno = 0;
  const bool is_written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if ((!is_written || std::fflush(stdout) != 0) && print_error_number == 0) {
    print_error_number = errno == 0 ? EIO : errno;
  }
}

void print_error(const Error& error) { print_notice("istmo: " + error.text() + "\n"); }

void print_notice(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

int print_no_list(const Error& error, Output output) {
  if (output != Output::text) print(list_text({}, output));
  print_error(error);
  return kExitFailed;
}

int exit_code_after_printing(int exit_code) {
  if (print_error_number == 0) return exit_code;
  print_error(Error::from_errno(print_error_number, "write to standard output"));
  return kExitFailed;
}

}  // namespace istmo::control
