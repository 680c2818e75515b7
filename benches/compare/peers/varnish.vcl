# Varnish that proxies and caches nothing. It adds X-Forwarded-For itself.
vcl 4.1;

backend application {
    .host = "127.0.0.1";
    .port = "@upstream@";
    .connect_timeout = 30s;
    .first_byte_timeout = 120s;
    .between_bytes_timeout = 120s;
}

sub vcl_recv {
    set req.http.X-Forwarded-Proto = "http";
    set req.http.X-Forwarded-Host = req.http.Host;
    return (pass);
}
