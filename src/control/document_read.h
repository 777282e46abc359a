// One document: from its tree to its struct. The field lists of skupper.io/v2alpha1 are here.
#pragma once

#include <string>

#include "control/document_text.h"
#include "control/value.h"

namespace istmo::control {

inline constexpr const char* kApiVersion = "skupper.io/v2alpha1";

// Adds the document, or the problems, to `parsed`.
void read_document(const Value& tree, const std::string& file, ParsedDocuments& parsed);

}  // namespace istmo::control
