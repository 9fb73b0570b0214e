<?php
// Signs a visitor token. Paste `visitor_token` into your server; it needs nothing but PHP.

/** Who the visitor is, and what is true of the page, for the site of this name; good for an hour. */
function visitor_token($secret, $site, $visitor_id, $name = null, $page_context = null, $seconds = 3600)
{
    $claims = ['sub' => (string) $visitor_id, 'aud' => $site, 'exp' => time() + $seconds];
    if ($name) {
        $claims['name'] = $name;
    }
    if ($page_context) {
        $claims['page_context'] = $page_context;
    }
    $encode = fn ($data) => rtrim(strtr(base64_encode($data), '+/', '-_'), '=');
    $signed = $encode(json_encode(['alg' => 'HS256', 'typ' => 'JWT']))
        . '.' . $encode(json_encode($claims, JSON_THROW_ON_ERROR));
    return $signed . '.' . $encode(hash_hmac('sha256', $signed, $secret, true));
}
