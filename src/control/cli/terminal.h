// What commands print: aligned tables, names of states, documents. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/cli/arguments.h"
#include "control/value.h"

namespace istmo::control {

// Columns padded to their widest cell and two blanks; no blanks at the end of a line.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { add(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;
  // One row as `NAME: value` lines.
  static std::string vertical(const std::vector<std::string>& names,
                              const std::vector<std::string>& cells);

 private:
  std::vector<std::vector<std::string>> rows_;
};

// A tree as v1 draws it.
struct Tree {
  std::string label;
  std::vector<std::string> notes;  // lines below the label, before the branches
  std::vector<Tree> branches;
};
// The root's label stands alone; its branches are drawn below.
std::string draw(const Tree& root);

const std::vector<Value>& items_at(const Value& value, std::string_view key);

// `-o json|yaml`: documents as a list, or one alone.
std::string list_text(const std::vector<Value>& documents, Output output);
std::string document_text(const Value& document, Output output);

void print(std::string_view text);         // to stdout; see exit_code_after_printing()
void print_error(const Error& error);      // "istmo: ..." to stderr
void print_notice(std::string_view text);  // to stderr

// Nothing to show, for a reason: stderr says it, stdout has an empty list for `-o`. kExitFailed.
int print_no_list(const Error& error, Output output);

// kExitFailed, and the reason on stderr, when something could not be printed; else `exit_code`.
int exit_code_after_printing(int exit_code);

}  // namespace istmo::control
