// Where the documents of a site come from: a directory (directory_source.h) or a namespace of a
// cluster (kubernetes/kubernetes_source.h).
//
// Owned by the controller, control thread only; borrows its loop and sink. Ends with stop(), then
// is_idle() on the loop.
#pragma once

#include "control/desired.h"
#include "control/source_reader.h"

namespace istmo::control {

// Called on the control loop's thread.
class SourceSink {
 public:
  // Something changed. Not called from inside start().
  virtual void on_source_changed(const SourceState& state) = 0;

 protected:
  ~SourceSink() = default;
};

class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  // Reads and begins to watch.
  virtual void start() = 0;
  // state() has all there is; it may take a while after start(), and on_source_changed() tells.
  virtual bool is_complete() const = 0;
  virtual const SourceState& state() const = 0;
  virtual void stop() = 0;
  virtual bool is_idle() const = 0;  // nothing of it is left in the loop: may be destroyed
};

}  // namespace istmo::control
