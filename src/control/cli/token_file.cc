#include "control/cli/token_file.h"

#include "control/document_text.h"
#include "control/site_options.h"

namespace istmo::control {

Result<TokenFile> read_token_file(const std::string& file) {
  const std::string text = TRY(read_file(file));
  const ParsedDocuments parsed = parse_documents(text, file);
  TokenFile found;
  for (const Document& document : parsed.documents) {
    if (const auto* token = std::get_if<AccessTokenDocument>(&document)) found.token = *token;
    if (const auto* link = std::get_if<LinkDocument>(&document)) found.link = *link;
    if (const auto* secret = std::get_if<SecretDocument>(&document)) found.secret = *secret;
  }
  if (found.token || (found.link && found.secret)) return found;
  for (const Problem& problem : parsed.problems) return Error::config(problem.to_string());
  return Error::config(file + " is not a token: `istmo token create` makes one");
}

}  // namespace istmo::control
