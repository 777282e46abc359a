// The object of a namespace that holds one document: a ConfigMap, a Secret for what holds codes,
// and for a Secret itself.
//
// Pure; any thread.
#pragma once

#include <string_view>

#include "control/desired.h"
#include "control/value.h"

namespace istmo::control {

// Documents of this kind hold codes, so they live in Secrets.
bool holds_codes(std::string_view kind);

// With our label; without an owner.
Value document_object(const Document& document);

}  // namespace istmo::control
