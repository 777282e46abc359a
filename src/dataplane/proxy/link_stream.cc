#include "dataplane/proxy/link_stream.h"

#include "dataplane/proxy/link.h"

namespace istmo::proxy {

void LinkStream::send(io::Chain&& bytes) {
  if (is_reset_by_us_) return;
  link_.mux().write(id_, std::move(bytes));
  link_.schedule_flush();
}

void LinkStream::finish() {
  if (is_reset_by_us_) return;
  link_.mux().finish(id_);
  link_.schedule_flush();
}

void LinkStream::reset(CloseReason reason) {
  if (is_reset_by_us_) return;
  is_reset_by_us_ = true;
  reason_ = reason;
  link_.mux().reset(id_, to_string(reason));
  link_.schedule_flush();
}

void LinkStream::grant(uint64_t count) {
  if (is_reset_by_us_) return;
  link_.mux().grant(id_, count);
  link_.schedule_flush();
}

int64_t LinkStream::credit_bytes() const { return link_.mux().credit_bytes(id_); }

void LinkStream::accept() {
  if (!is_opened_by_remote_ || is_reset_by_us_) return;
  link_.mux().answer(id_, {});
  link_.schedule_flush();
}

std::string LinkStream::remote_name() const { return "site " + link_.site_label(); }

}  // namespace istmo::proxy
