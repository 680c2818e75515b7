"""Every path of the site. A path that ends in `logout/` is one that a rule for logouts matches."""
from django.conf.urls import include, url
from django.contrib import admin
from django.contrib.auth.views import login, logout

from rig import views

admin.autodiscover()

urlpatterns = [
    # Pages by what they do to the session.
    url(r"^$", views.index, name="index"),
    url(r"^read/$", views.read, name="read"),
    url(r"^write/$", views.write, name="write"),
    url(r"^adopt/$", views.adopt, name="adopt"),
    url(r"^error/$", views.error, name="error"),
    url(r"^read/error/$", views.read_error, name="read-error"),
    url(r"^messages/$", views.messages_show, name="messages"),
    url(r"^messages/add/$", views.messages_add, name="messages-add"),
    # The views that Django ships.
    url(r"^accounts/login/$", login, name="login"),
    url(r"^accounts/logout/$", logout, name="logout"),
    url(r"^template/logout/$", logout, {"template_name": "registration/logged_out.html"}, name="template-logout"),
    url(r"^redirect/logout/$", logout, {"next_page": "/"}, name="redirect-logout"),
    url(r"^admin/", include(admin.site.urls)),
    url(r"^i18n/", include("django.conf.urls.i18n")),
    # Views at such a path that do something else, or something more.
    url(r"^messages/logout/$", views.messages_logout, name="messages-logout"),
    url(r"^cart/logout/$", views.cart_logout, name="cart-logout"),
    url(r"^confirm/logout/$", views.confirm_logout, name="confirm-logout"),
    url(r"^get405/logout/$", views.get405_logout, name="get405-logout"),
    url(r"^loginout/logout/$", views.loginout_logout, name="loginout-logout"),
    url(r"^error/logout/$", views.error_logout, name="error-logout"),
    url(r"^slow/logout/$", views.slow_logout, name="slow-logout"),
    url(r"^turning/logout/$", views.turning_logout, name="turning-logout"),
    url(r"^deleting/logout/$", views.deleting_logout, name="deleting-logout"),
    # A logout at a path whose name does not tell.
    url(r"^leave/$", views.deleting_logout, name="leave"),
    url(r"^bye/$", views.error_logout, name="bye"),
    # One view at as many paths as anybody makes up, as a pattern without `^` has it.
    url(r"^any/.*logout/$", logout, name="any-logout"),
    # Pages that show the proxy at work.
    url(r"^slow/$", views.slow, name="slow"),
    url(r"^big/$", views.big, name="big"),
    url(r"^echo/$", views.echo, name="echo"),
]
