// A millisecond of real traffic over the loopback interface: does a loop of this kind work here?
#pragma once

#include "dataplane/io/loop.h"

namespace istmo::io {

// Makes the loop and sends 256 KiB through it: order of the octets, cancel of a receive, multishot
// accept, end of stream. The error says what went wrong.
Result<> self_test(const LoopChoice& choice);

}  // namespace istmo::io
