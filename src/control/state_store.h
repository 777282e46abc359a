// Where a site keeps what it must remember: records by name ("grants/<uid>.json"), each replaced as
// a whole.
//
// Lives on the control thread and outlives whoever reads and writes through it. Names are made of
// a folder and a file; records of the same folder are listed together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/list.h"
#include "base/result.h"

namespace istmo::control {

// Who waits until what was written lasts. Waits no longer once it is destroyed or unlinked.
class DurableWait : public ListNode<DurableWait> {
 public:
  // No error: all that was written before the waiting began is durable. Error::taken: somebody else
  // changed one of these records at the same time; what they wrote counts, ours does not, and the
  // store's sink was told before. Any other error: it cannot be written now, and is tried again.
  virtual void on_durable(const Result<>& result) = 0;

  uint64_t number = 0;  // of the last writing that is waited for; for the store

 protected:
  ~DurableWait() = default;
};

// Called from turns of the loop.
class StateStoreSink {
 public:
  // Somebody else changed, made or removed this record: read it again.
  virtual void on_record_changed(const std::string& name) = 0;
  // A record is_stored() now that was not.
  virtual void on_record_stored() = 0;

 protected:
  ~StateStoreSink() = default;
};

class StateStore {
 public:
  virtual ~StateStore() = default;

  // Other processes write the same records.
  virtual bool is_shared() const = 0;
  // What is there is known, or nobody can say when it will be.
  virtual bool is_ready() const = 0;
  virtual void set_sink(StateStoreSink& sink) = 0;

  virtual Result<std::vector<std::string>> list(const std::string& folder) const = 0;
  // Error::closed: there is none.
  virtual Result<std::string> read(const std::string& name) const = 0;
  // Without an error it counts from now on, and when_durable() tells when it lasts; after an error
  // nothing has changed, unless the error says so.
  virtual Result<> write(const std::string& name, std::string_view text) = 0;
  // One that is not there is no error.
  virtual Result<> remove(const std::string& name) = 0;
  // For people: where the record is.
  virtual std::string place_of(const std::string& name) const = 0;

  // Calls wait.on_durable() once: from here if there is nothing to wait for.
  virtual void when_durable(DurableWait& wait) = 0;
  // Some version of the record is durable.
  virtual bool is_stored(const std::string& name) const = 0;

  // Room for what is to be written soon under this name; an error: it could not be written.
  virtual Result<> reserve(const std::string& name) = 0;
  virtual void release(const std::string& name) = 0;
};

// Private files of a folder (private_file.h): durable when write() returns.
class DiskStateStore final : public StateStore {
 public:
  // Makes the folders, and removes what an interrupted reserve() left.
  static Result<DiskStateStore> open(const std::filesystem::path& folder);

  bool is_shared() const override { return false; }
  bool is_ready() const override { return true; }
  void set_sink(StateStoreSink&) override {}
  Result<std::vector<std::string>> list(const std::string& folder) const override;
  Result<std::string> read(const std::string& name) const override;
  Result<> write(const std::string& name, std::string_view text) override;
  Result<> remove(const std::string& name) override;
  std::string place_of(const std::string& name) const override;
  void when_durable(DurableWait& wait) override { wait.on_durable({}); }
  bool is_stored(const std::string&) const override { return true; }
  Result<> reserve(const std::string& name) override;
  void release(const std::string& name) override;

 private:
  explicit DiskStateStore(const std::filesystem::path& folder) : folder_(folder) {}

  std::filesystem::path folder_;
};

// A record of a folder with this name; Error::config: it cannot be the name of one. Names come from
// documents, which were checked; this is a second look.
Result<std::string> record_name(std::string_view folder, const std::string& name,
                                std::string_view extension);

}  // namespace istmo::control
