// The admin socket: how commands talk to a running site.
//
// One request per line, a JSON map with `verb`. The answer is any number of lines {"item": ...},
// then one line {"done": true} or {"error": "..."}. A line that is no request ends the connection:
// a web page can make its browser send one. Everything is bounded: a request, the number
// of clients, and how long a client may take to read (its answer is dropped with it).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "control/value.h"
#include "dataplane/io/socket.h"

namespace istmo::control {

inline constexpr size_t kAdminRequestBytesMax = 64 * 1024;
inline constexpr size_t kAdminAnswerBytesMax = 64 * 1024 * 1024;

// Where the socket is: `unix:PATH` or `HOST:PORT` (numeric, or localhost).
struct AdminAddress {
  std::filesystem::path path;  // empty: TCP
  io::Address address;
  static Result<AdminAddress> parse(const std::string& text);
  static AdminAddress unix_socket(std::filesystem::path path) { return {std::move(path), {}}; }
  // A path, or a loopback address. Whoever reaches another one may command the site.
  bool is_for_this_machine() const;
  std::string to_string() const;
};

// The address as the kernel wants it.
struct AdminSocketName {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
};
// sun_path is short (108 octets): Error::config says so.
Result<AdminSocketName> socket_name(const AdminAddress& address);
Result<int> open_socket(const AdminAddress& address, int flags);

// One line of JSON with its end of line.
std::string write_line(const Value& value);
// One line of JSON. Error::protocol when it is none.
Result<Value> read_line(std::string_view line);

// A command's side: blocking, with a deadline for each answer.
class AdminClient {
 public:
  static Result<AdminClient> connect(const AdminAddress& address);
  AdminClient(AdminClient&& other) noexcept;
  AdminClient& operator=(AdminClient&&) = delete;
  ~AdminClient();
  // The items, or the error that the site answered with.
  Result<std::vector<Value>> ask(const Value& request, Duration patience = Duration::seconds(30));

 private:
  explicit AdminClient(int descriptor) : descriptor_(descriptor) {}
  Result<std::string> next_line(Instant deadline);
  int descriptor_;
  std::string received_;
};

}  // namespace istmo::control
