#include "control/admin.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "control/document_text.h"

namespace istmo::control {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr std::string_view kLocalhost = "localhost:";

}  // namespace

Result<AdminAddress> AdminAddress::parse(const std::string& text) {
  if (text.starts_with(kUnixPrefix)) {
    const std::string path = text.substr(kUnixPrefix.size());
    if (path.empty()) return Error::config("--admin unix:PATH needs a path");
    return unix_socket(fs::absolute(path));
  }
  const std::string numeric =
      text.starts_with(kLocalhost) ? "127.0.0.1:" + text.substr(kLocalhost.size()) : text;
  auto address = io::Address::parse(numeric);
  if (!address) {
    return Error::config("the admin address '" + text + "' is neither unix:PATH nor HOST:PORT");
  }
  return AdminAddress{.path = {}, .address = *address};
}

Result<AdminSocketName> socket_name(const AdminAddress& address) {
  AdminSocketName name;
  if (address.path.empty()) {
    std::memcpy(&name.storage, address.address.raw(), address.address.raw_size());
    name.size = address.address.raw_size();
    return name;
  }
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  const std::string path = address.path.string();
  if (path.size() >= sizeof local.sun_path) {
    return Error::config("the path of the admin socket is longer than the kernel allows (" +
                         std::to_string(sizeof local.sun_path - 1) + " octets): " + path +
                         "; choose a shorter one with --admin unix:PATH");
  }
  std::memcpy(local.sun_path, path.c_str(), path.size() + 1);
  std::memcpy(&name.storage, &local, sizeof local);
  name.size = sizeof local;
  return name;
}

Result<int> open_socket(const AdminAddress& address, int flags) {
  const int family = address.path.empty() ? address.address.family() : AF_UNIX;
  const int descriptor = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (descriptor < 0) return Error::from_errno(errno, "socket");
  return descriptor;
}

bool AdminAddress::is_for_this_machine() const {
  if (!path.empty()) return true;
  const std::string host = address.host();
  return host == "::1" || (address.family() == AF_INET && host.starts_with("127."));
}

std::string AdminAddress::to_string() const {
  return path.empty() ? address.to_string() : std::string(kUnixPrefix) + path.string();
}

std::string write_line(const Value& value) {
  std::string text = write_value(value, Format::json);
  // In JSON an end of line inside a string is escaped: those left are layout.
  std::erase(text, '\n');
  return text + "\n";
}

Result<Value> read_line(std::string_view line) {
  std::vector<Value> values = TRY(parse_values(line, "line.json"));
  if (values.size() != 1 || !values.front().is_map()) {
    return Error::protocol("a line is not one JSON map");
  }
  return std::move(values.front());
}

Result<AdminClient> AdminClient::connect(const AdminAddress& address) {
  const AdminSocketName name = TRY(socket_name(address));
  AdminClient client(TRY(open_socket(address, 0)));
  if (::connect(client.descriptor_, name.raw(), name.size) != 0) {
    return Error::from_errno(errno, "connect to the site at " + address.to_string());
  }
  return client;
}

AdminClient::AdminClient(AdminClient&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), received_(std::move(other.received_)) {}

AdminClient::~AdminClient() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::vector<Value>> AdminClient::ask(const Value& request, Duration patience) {
  const Instant deadline = monotonic_now() + patience;
  const std::string text = write_line(request);
  if (text.size() > kAdminRequestBytesMax) return Error::limit("the request is too long");
  if (::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(text.size())) {
    return Error::from_errno(errno, "send to the site");
  }
  std::vector<Value> items;
  while (true) {
    const std::string text_line = TRY(next_line(deadline));
    const Value line = TRY(read_line(text_line));
    if (const Value* item = line.find("item")) items.push_back(*item);
    else if (const Value* error = line.find("error")) return Error::refused(error->text());
    else return items;
  }
}

Result<std::string> AdminClient::next_line(Instant deadline) {
  while (true) {
    if (const size_t end = received_.find('\n'); end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    const Duration left = deadline - monotonic_now();
    pollfd waited{.fd = descriptor_, .events = POLLIN, .revents = 0};
    const int wait_ms = static_cast<int>(std::max<int64_t>(left.to_milliseconds(), 0)) + 1;
    if (left.ns <= 0 || ::poll(&waited, 1, wait_ms) == 0) {
      return Error::timeout("the site does not answer");
    }
    char buffer[16384];
    const ssize_t got = ::recv(descriptor_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got == 0) return Error::closed("the site closed the connection");
    if (got < 0 && errno != EAGAIN && errno != EINTR) return Error::from_errno(errno, "receive");
    if (got > 0) received_.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace istmo::control
