// Files that only their owner may read, replaced as a whole: a reader, and a restart after a crash
// at any moment, sees the old text or the new one and nothing between.
//
// Functions on the disk, any thread. Errors name the file and the step that failed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace istmo::control {

inline constexpr size_t kPrivateFileBytesMax = 4 * 1024 * 1024;

// Where the file lies: in a folder of ours alone, or where others may put files too. There the new
// file that is written first has a name that nobody can foresee.
enum class FolderKind : uint8_t { own, shared };

// Writes a new file beside `path` with mode 0600, syncs it, renames it over `path`, syncs the
// folder. An error after the rename says so: the new text may then be the one that survives.
Result<> write_private_file(const std::filesystem::path& path, std::string_view text,
                            FolderKind folder = FolderKind::own);

// Takes room on the disk in a new file `path`, for what is to be written soon: who cannot get it
// finds out before it matters. Remove it right before the writing.
inline constexpr size_t kReservedBytes = 64 * 1024;
Result<> reserve_room(const std::filesystem::path& path);

// Error::closed when there is no such file.
Result<std::string> read_private_file(const std::filesystem::path& path);

// Removes and syncs the folder. A file that is not there is no error.
Result<> remove_private_file(const std::filesystem::path& path);

// Mode 0700; parents too.
Result<> make_private_folder(const std::filesystem::path& path);

}  // namespace istmo::control
