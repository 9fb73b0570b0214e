<?php
/**
 * Plugin Name: Chat by widget-proxy
 * Description: A chat that knows the product on the page. The bot's key stays on the proxy.
 * Version: 1.0.0
 * Requires PHP: 7.4
 * License: MIT
 */

defined('ABSPATH') || exit;

require_once __DIR__ . '/visitor-token.php';

/** What the bot is told of this page, beside what the widget finds by itself. */
function widget_proxy_page_context()
{
    $context = [];
    $product = function_exists('is_product') && is_product() ? wc_get_product(get_queried_object_id()) : null;
    if ($product) {
        $context = array_filter([
            'product_name' => $product->get_name(),
            'product_id' => $product->get_sku(),
            'price' => wc_format_decimal(wc_get_price_to_display($product), 2),
            'currency' => get_woocommerce_currency(),
        ], fn ($value) => (string) $value !== '');
        $context['in_stock'] = (bool) $product->is_in_stock();
    }
    return apply_filters('widget_proxy_page_context', $context);
}

/** The tag's attributes. Only who is signed in has an id and a token: a guest's page may lie in a cache. */
function widget_proxy_attributes()
{
    $context = widget_proxy_page_context();
    $attributes = ['src' => rtrim(WIDGET_PROXY_URL, '/') . '/widget.js', 'data-site' => WIDGET_PROXY_SITE];
    if ($context) {
        $attributes['data-page-context'] = wp_json_encode($context);
    }
    if (is_user_logged_in()) {
        $user = wp_get_current_user();
        $attributes['data-user-id'] = "wp-{$user->ID}";
        if (defined('WIDGET_PROXY_VISITOR_SECRET')) {
            $attributes['data-visitor-token'] = visitor_token(
                WIDGET_PROXY_VISITOR_SECRET,
                WIDGET_PROXY_SITE,
                "wp-{$user->ID}",
                $user->display_name,
                $context
            );
        }
    }
    return apply_filters('widget_proxy_attributes', $attributes);
}

/** Write the tag at the end of the page. */
function widget_proxy_print_tag()
{
    if (!defined('WIDGET_PROXY_URL') || !defined('WIDGET_PROXY_SITE')) {
        return;
    }
    echo '<script';
    foreach (widget_proxy_attributes() as $name => $value) {
        echo ' ', $name, '="', esc_attr($value), '"';
    }
    echo " async></script>\n";
}
add_action('wp_footer', 'widget_proxy_print_tag');
